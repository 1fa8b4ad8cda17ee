"""How Sphinx builds the site: ``tox -e docs``."""

from __future__ import annotations

import ast
import inspect
import os
import re
import tomllib
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from sphinx.addnodes import toctree

import lambda_secrets.backends
import lambda_secrets.testing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
STUB = ROOT / "lambda_secrets" / "__init__.pyi"
ALIASES = {  # names of types that are private, or that say nothing to a reader
    "Any | EllipsisType": "Any",
    "Kind": "str",
    "Transform": 'Literal["json", "binary"] | Callable[[Any], Any]',
    "Value": "str | bytes | list[str] | dict[str, Any]",
    "Values": "Mapping[str, str | bytes | list[Any] | dict[str, Any]]",
    "Callable[..., _R]": "Callable",
}
SEEN: dict[tuple[FunctionType, str], list[str]] = {}

project = "lambda_secrets"
author = PACKAGE["authors"][0]["name"]
copyright = author  # noqa: A001 - Sphinx's name for it
release = version = PACKAGE["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "index"
nitpicky = True
nitpick_ignore = [("py:class", "os.PathLike"), ("py:obj", "repr")]
default_role = "py:obj"  # a name in backticks in a docstring is a link, and has to lead somewhere

myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the functions below are not part of the cached settings

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"lambda_secrets {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}

# Files from elsewhere in the repository, and the pages that show them.
SHOWN = {
    ROOT / "CHANGELOG.md": DOCS / "changelog.md",
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
    ROOT / "RELEASING.md": DOCS / "releasing.md",
    ROOT / "SECURITY.md": DOCS / "security.md",
    **{ROOT / "examples" / page.stem / "README.md": page for page in DOCS.glob("examples/*.md")},
}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def relink_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let the links of a page lead from it."""
    page = DOCS / f"{docname}.md"
    source[0] = relinked(source[0], page, page)


def relink_included(app: Sphinx, path: Path, _: str, content: list[str]) -> None:
    """Let the links of an included file lead from the page that shows it."""
    page = DOCS / f"{app.env.docname}.md"  # MyST hands over the last part of it only
    content[0] = relinked(content[0], (DOCS / path).resolve(), page)


def relinked(text: str, holder: Path, page: Path) -> str:
    """Return the text of a file with links to pages of the site, or else to the repository."""
    url = os.environ.get("PROJECT_URL", "").rstrip("/")

    def target(link: re.Match[str]) -> str:
        file = (holder.parent / link[1]).resolve()
        file = SHOWN.get(file, file)
        if url and not file.is_relative_to(DOCS):
            return f"{url}/blob/v{release}/{file.relative_to(ROOT).as_posix()}"
        return os.path.relpath(file, page.parent)

    return LINK.sub(target, text)


def annotate() -> None:
    """Give public names the types that the stub has, with private aliases written out."""
    tree = ast.parse(STUB.read_text("utf-8"))
    aliases = {
        node.target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name)
    }
    aliases = {name: text for name, text in aliases.items() if name[0] == "_"} | ALIASES
    for owner, function in functions_in(tree):
        called = inspect.unwrap(getattr(owner, function.name))
        if isinstance(called, FunctionType):
            for argument in (*function.args.posonlyargs, *function.args.kwonlyargs):
                if argument.annotation is not None:
                    note(called, argument.arg, ast.unparse(argument.annotation))
    for module in (lambda_secrets, lambda_secrets.backends, lambda_secrets.testing):
        for name in vars(module).get("__all__", ["override_secrets"]):
            owner = getattr(module, name)
            members = [owner, *(vars(owner).values() if isinstance(owner, type) else ())]
            for member in members:
                called = getattr(member, "fget", None) or member
                if isinstance(called, (FunctionType, type)):
                    write_out(called, aliases)


def functions_in(tree: ast.Module) -> Iterator[tuple[Any, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Go through the functions of the stub, each with the class or module that has it."""
    for node in tree.body:
        is_class = isinstance(node, ast.ClassDef)
        owner = getattr(lambda_secrets, node.name) if is_class else lambda_secrets
        for one in node.body if is_class else [node]:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield owner, one


def note(called: FunctionType, name: str, hint: str) -> None:
    """Add a type to those that a parameter takes; None comes last."""
    seen = SEEN.setdefault((called, name), [])
    seen += [kind for kind in hint.split(" | ") if kind not in seen]
    called.__annotations__[name] = " | ".join(sorted(seen, key="None".__eq__))


def write_out(called: FunctionType | type, aliases: dict[str, str]) -> None:
    """Replace the aliases in annotations, which are strings."""
    hints = called.__annotations__ if "__annotations__" in dir(called) else {}
    for name, hint in hints.items():
        for alias, text in aliases.items():
            hint = re.sub(rf"(?<![\w.]){re.escape(alias)}(?!\w)", text, hint) if isinstance(hint, str) else hint
        hints[name] = hint


def write_llms(app: Sphinx, error: Exception | None) -> None:
    """Write ``llms.txt``: each page of the toctree, with a link to its Markdown."""
    if error is not None or app.builder.format != "html":
        return
    lines = [f"# {project}", "", f"> {PACKAGE['description']}", ""]
    for tree in app.env.get_doctree(root_doc).findall(toctree):
        lines += [f"## {tree['caption']}", ""]
        for _, page in tree["entries"]:
            link = f"_sources/{page}.md.txt"
            lines.append(f"- [{app.env.titles[page].astext()}]({link}): {told_first(app, page)}")
        lines.append("")
    Path(app.outdir, "llms.txt").write_text("\n".join(lines), "utf-8")


def told_first(app: Sphinx, page: str) -> str:
    """Return the first sentence of a page."""
    from docutils.nodes import paragraph

    text = next(app.env.get_doctree(page).findall(paragraph)).astext()
    return re.split(r"(?<=[.:])\s", " ".join(text.split()))[0]


def setup(app: Sphinx) -> None:
    """Register what is above."""
    annotate()
    app.connect("source-read", relink_page)
    app.connect("include-read", relink_included)
    app.connect("build-finished", write_llms)

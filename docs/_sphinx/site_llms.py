"""``llms.txt`` lists the pages for language models, ``llms-full.txt`` holds them as Markdown."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from docutils.nodes import paragraph
from sphinx.addnodes import toctree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

DIRECTIVE = re.compile(r"^```\{([\w-]+)\} ?(\S*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the list, each page as Markdown, and all of them as one file."""
    if error is not None or app.builder.format != "html":
        return
    head = [f"# {app.config.project}", "", f"> {app.config.llms_summary}", ""]
    listed, whole = [*head], [*head]
    for tree in app.env.get_doctree(app.config.root_doc).findall(toctree):
        listed += [f"## {tree['caption']}", ""]
        for page in below(app, [page for _, page in tree["entries"]]):
            title = app.env.titles[page].astext()
            listed.append(f"- [{title}]({page}.md): {first_sentence(app, page)}")
            text = markdown(app.env.doc2path(page))
            Path(app.outdir, f"{page}.md").write_text(text, "utf-8")
            whole.append(text)
        listed.append("")
    Path(app.outdir, "llms.txt").write_text("\n".join(listed), "utf-8")
    Path(app.outdir, "llms-full.txt").write_text("\n".join(whole), "utf-8")


def below(app: Sphinx, pages: list[str]) -> Iterator[str]:
    """Go through pages, each followed by those of its own toctree."""
    for page in pages:
        yield page
        yield from below(app, app.env.toctree_includes.get(page, []))


def first_sentence(app: Sphinx, page: str) -> str:
    """Return the first sentence of a page."""
    text = next(app.env.get_doctree(page).findall(paragraph)).astext()
    return re.split(r"(?<=[.:])\s", " ".join(text.split()))[0].rstrip(":.") + "."


def markdown(page: Path) -> str:
    """Return a page with what its directives show in their place."""

    def shown(directive: re.Match[str]) -> str:
        kind, argument, body = directive.groups()
        if kind == "eval-rst":
            return "\n\n".join(docstrings(body)) + "\n"
        if kind not in {"include", "literalinclude"}:
            return ""
        text = (page.parent / argument).read_text("utf-8")
        return text if kind == "include" else f"`{argument}`:\n\n```\n{text}```\n"

    return DIRECTIVE.sub(shown, page.read_text("utf-8"))


def docstrings(directives: str) -> Iterator[str]:
    """Return the docstrings that directives of autodoc show."""
    module = ""
    for kind, name in re.findall(r"^\.\. (\w+):: (\S+?)(?:\(\))?$", directives, re.MULTILINE):
        if kind == "currentmodule":
            module = name
        elif kind.startswith("auto"):
            text = inspect.getdoc(getattr(import_module(module), name))
            yield f"### {module}.{name}\n\n```text\n{text}\n```"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it."""
    app.add_config_value("llms_summary", "", "env")
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}

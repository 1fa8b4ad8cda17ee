"""Links as they are in the repository lead to pages of the site, or else to the repository."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
SHOWN = {  # files from elsewhere in the repository, and the pages that show them
    ROOT / "CHANGELOG.md": DOCS / "changelog.md",
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
    ROOT / "RELEASING.md": DOCS / "releasing.md",
    ROOT / "SECURITY.md": DOCS / "security-policy.md",
    **{ROOT / "examples" / page.stem / "README.md": page for page in DOCS.glob("examples/*.md")},
}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def relink_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let the links of a page lead from it."""
    page = DOCS / f"{docname}.md"
    source[0] = relinked(source[0], page, page, app.config.release)


def relink_included(app: Sphinx, path: Path, _: str, content: list[str]) -> None:
    """Let the links of an included file lead from the page that shows it."""
    page = DOCS / f"{app.env.docname}.md"  # MyST hands over the last part of it only
    content[0] = relinked(content[0], (DOCS / path).resolve(), page, app.config.release)


def relinked(text: str, holder: Path, page: Path, release: str) -> str:
    """Return the text of a file with links that lead from a page."""
    url = os.environ.get("PROJECT_URL", "").rstrip("/")

    def target(link: re.Match[str]) -> str:
        file = (holder.parent / link[1]).resolve()
        file = SHOWN.get(file, file)
        if url and not file.is_relative_to(DOCS):
            return f"{url}/blob/v{release}/{file.relative_to(ROOT).as_posix()}"
        return os.path.relpath(file, page.parent)

    return LINK.sub(target, text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it."""
    app.connect("source-read", relink_page)
    app.connect("include-read", relink_included)
    return {"parallel_read_safe": True}

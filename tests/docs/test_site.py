"""The built site: no link is broken, the search works, and every page is listed."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx", reason="`tox -e docs` has Sphinx, which builds the site")

ROOT = Path(__file__).parents[2]
OUTSIDE = {"https", "http", "mailto", "data", "javascript"}


class Page(HTMLParser):
    """The links of a page, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and the anchor of a tag."""
        for name, value in attrs:
            if name in {"href", "src"} and value is not None:
                self.links.append(value)
            elif name == "id" and value is not None:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `tox -e docs` does: every warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", out / "doctrees", ROOT / "docs", out / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_no_link_or_anchor_is_broken(site: Path) -> None:
    """Every link within the site leads to an existing file and anchor."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 30
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in OUTSIDE or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = pages[target].anchors if target in pages else {parts.fragment}
            if not target.exists() or unquote(parts.fragment) not in there:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_release_publishes_what_tox_builds() -> None:
    """The folder that the release workflow uploads is the one that `tox -e docs` fills."""
    [built] = re.findall(r"sphinx-build .* docs (\S+)$", read("tox.ini"), re.MULTILINE)
    workflow = read(".github/workflows/release.yml")
    jobs = re.split(r"^  (?=\S)", workflow, flags=re.MULTILINE)
    [job] = [job for job in jobs if "actions/upload-pages-artifact@" in job]
    assert "tox run -e docs\n" in job
    assert f"path: {built.replace('{/}', '/')}\n" in job


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text("utf-8")


def test_search_finds_an_option(site: Path) -> None:
    """The search index contains the names that people look for."""
    index = (site / "searchindex.js").read_text("utf-8")
    for name in ("refresh_on", "retry_on"):
        assert re.search(rf'"?\b{name}\b"?:', index)


def test_llms_txt_lists_every_page(site: Path) -> None:
    """`llms.txt` lists every page, its links work, and `llms-full.txt` is complete."""
    listed = re.findall(r"\]\((\S+)\)", (site / "llms.txt").read_text("utf-8"))
    assert [link for link in listed if not (site / link).is_file()] == []
    pages = {
        path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    told = {link.removesuffix(".md") for link in listed}
    assert pages - told == {"index"}
    whole = (site / "llms-full.txt").read_text("utf-8")
    assert "```{" not in whole
    assert whole.count("### lambda_secrets.inject_secrets\n") == 1

"""Metadata that depends on where the project lives, which PROJECT_URL tells: see RELEASING.md."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


class ProjectAddress(MetadataHookInterface):
    """Fills in `readme` and `urls`: a page of an index has no files beside it to link to."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Make links absolute and name the project's pages; without an address, leave both out."""
        text = Path(self.root, "README.md").read_text("utf-8")
        metadata["urls"] = {}
        if url := os.environ.get("PROJECT_URL", "").rstrip("/"):
            tag = f"v{metadata['version']}"
            text = RELATIVE.sub(lambda link: absolute(link, url, tag), text)
            metadata["urls"] = {
                "Changelog": f"{url}/blob/{tag}/CHANGELOG.md",
                "Documentation": f"{url}/blob/{tag}/docs/index.md",
                "Issues": f"{url}/issues",
                "Source": url,
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(link: re.Match[str], url: str, tag: str) -> str:
    """Return a link or an image with the address that it has at this tag."""
    image, text, path = link.groups()
    return f"{image}[{text}]({url}/{'raw' if image else 'blob'}/{tag}/{path})"

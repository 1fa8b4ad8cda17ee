"""Adds to a build: the wheel's bytecode, and the metadata that the project's address decides."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


class Bytecode(BuildHookInterface[Any]):
    """Puts bytecode into the wheel: see `scripts/bytecode.py`.

    WHEEL_PYTHON is a command, such as ``python3.13``. It makes a wheel for that Python, which pip
    prefers there to the one for all: that one has the bytecode of every Python that is here.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless it is an editable installation, whose sources are to change."""
        self._folder = TemporaryDirectory()
        pythons = [python] if (python := os.environ.get("WHEEL_PYTHON")) else []
        if version != "editable":
            script = Path(self.root, "scripts", "bytecode.py")
            package = Path(self.root, "lambda_secrets")
            command = [sys.executable, script, package, self._folder.name, *pythons]
            subprocess.run(command, check=True)
        for file in Path(self._folder.name).iterdir():
            build_data["force_include"][str(file)] = f"lambda_secrets/{file.name}"
            if pythons:  # cpython-313 → py313
                build_data["tag"] = f"py{file.stem.rpartition('-')[2]}-none-any"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel now."""
        self._folder.cleanup()


class ProjectAddress(MetadataHookInterface):
    """Fills in `readme` and `urls`: a page of an index has no files beside it to link to.

    PROJECT_URL is the address: see RELEASING.md.
    """

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

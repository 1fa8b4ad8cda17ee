"""Build hooks: the wheel's bytecode, and the metadata that depends on the project's address."""

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

    With WHEEL_PYTHON, a command such as ``python3.13``, the wheel is for that Python, and pip there
    prefers it to the wheel for all, which has the bytecode of every installed Python.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, except for an editable installation, whose sources will change."""
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
        """Remove the temporary files: they are in the wheel now."""
        self._folder.cleanup()


class ProjectAddress(MetadataHookInterface):
    """Fills in `readme` and `urls`: relative links do not work on a package index.

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
    """Return a link or an image with its absolute address at this tag."""
    image, text, path = link.groups()
    return f"{image}[{text}]({url}/{'raw' if image else 'blob'}/{tag}/{path})"

"""Builds and checks what a release publishes: packages in ``dist/``, the layer in ``layer/``.

    python -m scripts.release v0.2.0

A tag must match the version, and the changelog must have a section for it. Without a tag, this is a
rehearsal.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from scripts.bytecode import RUNTIMES, runs

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable


def main(tag: str = "") -> None:
    """Build, check and list the artefacts."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if tag and tag != f"v{version}":
        sys.exit(f"the tag is {tag}, but pyproject.toml says {version}: set the version first")
    if tag and f"\n## [{version}]" not in (ROOT / "CHANGELOG.md").read_text("utf-8"):
        sys.exit(f"CHANGELOG.md has no section for {version}: rename [Unreleased] first")
    dist, layer = ROOT / "dist", ROOT / "layer"
    for folder in (dist, layer):
        shutil.rmtree(folder, ignore_errors=True)
    run(PYTHON, "-m", "build", "--outdir", dist, ROOT)
    wheel, sdist = next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))
    for runtime in filter(runs, RUNTIMES):  # smaller: it has one Python's bytecode
        run(PYTHON, "-m", "build", "--wheel", "--outdir", dist, ROOT, WHEEL_PYTHON=runtime)
    run(PYTHON, "-m", "twine", "check", "--strict", *dist.iterdir())
    run(PYTHON, "-m", "scripts.layer", wheel, layer / "lambda-secrets-layer.zip")
    with imported_afterwards(version) as python:
        run(PYTHON, "-m", "pip", "--python", python, "install", "--quiet", wheel)
    with imported_afterwards(version) as python:
        run(PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", python, sdist)
    for artefact in sorted([*dist.iterdir(), *layer.iterdir()]):
        digest = hashlib.sha256(artefact.read_bytes()).hexdigest()
        print(f"{digest}  {artefact.relative_to(ROOT)}")


@contextmanager
def imported_afterwards(version: str) -> Generator[Path]:
    """Give the Python of an empty environment; then check the library installed there."""
    with TemporaryDirectory() as folder:
        venv.create(folder)
        python = Path(folder, "bin", "python")
        yield python
        script = "import lambda_secrets; print(lambda_secrets.__version__)"
        imported = subprocess.check_output([python, "-c", script], cwd=folder, text=True).strip()
        if imported != version:
            sys.exit(f"installed {imported} instead of {version}")


def run(*command: object, **variables: str) -> None:
    """Run a command in the project's folder; raise if it fails."""
    arguments = [str(part) for part in command]
    subprocess.run(arguments, cwd=ROOT, check=True, env={**os.environ, **variables})


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The requirements of a user's installation, from pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def required() -> list[str]:
    """Return all requirements, every extra's included; references between extras are dropped."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    everything = {*project["dependencies"], *(one for extra in extras for one in extra)}
    return sorted(one for one in everything if not one.startswith(f"{project['name']}["))

"""Writes the lowest versions that the project's own requirements allow, as a requirements file."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def main(path: str) -> None:
    """Pin each requirement, extras included, to its lower bound; each has to have one."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    required = {*project["dependencies"], *(one for extra in extras for one in extra)}
    pinned = [lowest(one) for one in sorted(required) if not one.startswith(project["name"])]
    Path(path).write_text("\n".join(pinned), "utf-8")
    print("lowest:", *pinned)


def lowest(requirement: str) -> str:
    """Return ``name==1.2`` for ``name>=1.2,<3``."""
    name, _, bounds = requirement.partition(">=")
    return f"{name}=={bounds.partition(',')[0]}"


if __name__ == "__main__":
    main(sys.argv[1])

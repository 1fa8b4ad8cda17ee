"""Writes the lowest versions that the project's own requirements allow, as a requirements file."""

from __future__ import annotations

import sys
from pathlib import Path

from requirements import required


def main(path: str) -> None:
    """Pin each requirement to its lower bound; each must have one."""
    pinned = [lowest(one) for one in required()]
    Path(path).write_text("\n".join(pinned), "utf-8")
    print("lowest:", *pinned)


def lowest(requirement: str) -> str:
    """Return ``name==1.2`` for ``name>=1.2,<3``."""
    name, _, bounds = requirement.partition(">=")
    return f"{name}=={bounds.partition(',')[0]}"


if __name__ == "__main__":
    main(sys.argv[1])

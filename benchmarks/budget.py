"""Budget: what the cold start of a plain handler loads and compiles, and the size of the library.

`python -m benchmarks.budget` prints only this. The handler is `handlers/ours.py`: the default
backend, values in the context. The modules are those loaded by running it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Check, Figures, markdown
from benchmarks.service import Service
from scripts.bytecode import LEFT_OUT

NODES = 12_500  # of the abstract syntax trees of the modules
COMPILED = 1_000  # of the syntax trees of the modules that the wheel has no bytecode for
LINES = 6_300  # of the library, without its command line and its stubs

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lambda_secrets"
RUN = f"""
import json, sys
from types import SimpleNamespace
import ours
assert ours.handler({{}}, SimpleNamespace()) == "prod/db"
found = {{name: module.__file__ for name, module in sys.modules.items()
         if name.partition(".")[0] == {PACKAGE.name!r}}}
json.dump(found, sys.stdout)
"""


def cold_path() -> dict[str, Path]:
    """Return the package's modules that a cold start loads, in the order of their imports."""
    with Service() as service:
        output = subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=ROOT / "benchmarks" / "handlers",
            env={
                **os.environ,
                **service.environment,
                "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",  # as in Lambda
                "LAMBDA_SECRETS_BACKEND": "auto",
                "PYTHONPATH": str(ROOT),
            },
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    return {name: Path(file) for name, file in json.loads(output).items()}


def nodes(module: Path) -> int:
    """Return the number of nodes of a module's syntax tree, a measure of its compile time."""
    return sum(1 for _ in ast.walk(ast.parse(module.read_bytes())))


def library_lines() -> int:
    """Return the number of lines of the library."""
    modules = (
        path for path in PACKAGE.rglob("*.py") if "cli" not in path.relative_to(PACKAGE).parts
    )
    return sum(len(path.read_text("utf-8").splitlines()) for path in modules)


def measure() -> Figures:
    """Count nodes and lines, and compare them with the budget."""
    path = cold_path()
    counted = {name: nodes(module) for name, module in path.items()}
    total, lines = sum(counted.values()), library_lines()
    left_out = [name for name in path if path[name].relative_to(PACKAGE).parts[0] in LEFT_OUT]
    compiled = sum(counted[name] for name in left_out)
    table = [["module", "AST nodes"], *([f"`{name}`", f"{n:,}"] for name, n in counted.items())]
    table += [["all", f"{total:,}"], ["compiled from a zip of the wheel", f"{compiled:,}"]]
    table += [["lines of the library", f"{lines:,}"]]
    checks = [
        Check("AST nodes compiled from a zip of the wheel / budget", compiled / COMPILED, 1),
        Check("AST nodes of a cold start / budget", total / NODES, 1),
        Check("lines of the library / budget", lines / LINES, 1),
    ]
    return Figures("Budget", {"": table}, checks, {"nodes": counted, "lines": lines})


def main() -> int:
    """Print the budget, and fail if it is exceeded."""
    figures = measure()
    print(markdown(figures.table), *figures.checks, sep="\n")
    return int(not all(check.holds for check in figures.checks))


if __name__ == "__main__":
    sys.exit(main())

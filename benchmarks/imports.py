"""Profile: what a handler of ours imports beyond the runtime client, and how long that takes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.budget import nodes

if TYPE_CHECKING:
    from benchmarks.machine import Machine

SETTINGS = ("bytecode", "zip")
# `-X importtime` misses importlib.import_module; _find_and_load sees both kinds of import.
RUN = """
import awslambdaric.bootstrap, awslambdaric.lambda_config
import json, sys, time
from importlib import _bootstrap
from types import SimpleNamespace

own, nested, find_and_load = {}, [0.0], _bootstrap._find_and_load

def timed(name, import_):
    nested.append(0.0)
    begin = time.perf_counter()
    try:
        return find_and_load(name, import_)
    finally:
        seconds = time.perf_counter() - begin
        own[name] = own.get(name, 0.0) + seconds - nested.pop()
        nested[-1] += seconds

before = {*sys.modules}
_bootstrap._find_and_load = timed
import ours
ours.handler({}, SimpleNamespace())
_bootstrap._find_and_load = find_and_load
found = {name: [seconds, getattr(sys.modules[name], "__file__", None)]
         for name, seconds in own.items() if name in sys.modules and name not in before}
json.dump(found, sys.stdout)
"""


def imports(machine: Machine, name: str, *, rounds: int) -> list[list[str]]:
    """Return each module with its nodes, if it is compiled, and its fastest time as a table."""
    fastest: dict[str, dict[str, float]] = {}
    files: dict[str, Path] = {}
    for setting in SETTINGS * rounds:
        env = {**machine.environment(name, setting), "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
        output = subprocess.run(
            [machine.packages.python, "-c", RUN],
            cwd=machine.task(name, setting),
            env={variable: text for variable, text in env.items() if text is not None},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for module, (seconds, file) in json.loads(output).items():
            found = fastest.setdefault(module, {})
            found[setting] = min(seconds, found.get(setting, seconds))
            files[module] = Path(file or ".")
    task = machine.task(name, "zip")
    sizes = {module: nodes(file) for module, file in files.items() if file.is_relative_to(task)}
    table = [["module", "AST nodes", "ms with bytecode", "ms from the zip"]]
    for module, found in fastest.items():
        size = f"{sizes[module]:,}" if module in sizes else ""
        table.append([f"`{module}`", size, *(f"{1000 * found[one]:.2f}" for one in SETTINGS)])
    total = [sum(found[setting] for found in fastest.values()) for setting in SETTINGS]
    return [*table, ["all", f"{sum(sizes.values()):,}", *(f"{1000 * one:.2f}" for one in total)]]

"""Checks the Python of the documents as their readers would: `mypy --strict`, and pyright.

    python .ci/guides.py FOLDER

A document's blocks become one module in FOLDER. Handlers without annotations are allowed, and a
name may be defined again: pages show code before and after a change.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The rule to turn off for a page, and what pyright cannot know there.
UNKNOWN = {
    "migrating-from-caching-client": "reportArgumentType",  # the client's own types
    "observability": "reportAttributeAccessIssue",  # a method of X-Ray's emitter is replaced
    "pydantic-settings": "reportCallIssue",  # pydantic has a plugin for mypy only
}
MYPY = (
    *("--strict", "--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls"),
    *("--disable-error-code=no-redef", "--disable-error-code=import-untyped"),
)
PLUGINS = "[mypy]\nplugins = pydantic.mypy\n"
PYRIGHT = {"reportRedeclaration": False, "reportPossiblyUnboundVariable": False}


def main(folder: str) -> int:
    """Write the modules, and run both checkers; return 0 if both pass."""
    target = Path(folder, "guides")
    target.mkdir(parents=True, exist_ok=True)
    for page in ROOT.glob("docs/**/*.md"):
        if blocks := BLOCK.findall(page.read_text("utf-8")):
            rule = UNKNOWN.get(page.stem)
            head = f"# pyright: {rule}=false\n" if rule else ""
            module = target / f"{page.stem.replace('-', '_')}_page.py"
            module.write_text(head + "\n\n".join(blocks), "utf-8")
    settings = {**PYRIGHT, "extraPaths": [str(ROOT)]}
    (target / "mypy.ini").write_text(PLUGINS)
    (target / "pyrightconfig.json").write_text(json.dumps(settings))
    python = [sys.executable, "-m"]
    commands = (
        [*python, "mypy", *MYPY, "--config-file", str(target / "mypy.ini"), str(target)],
        [*python, "pyright", "--project", str(target), "--pythonpath", sys.executable],
    )
    return sum(subprocess.run(command, check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

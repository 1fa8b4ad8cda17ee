"""Every code block of the README and the docs runs, and every link leads somewhere."""

from __future__ import annotations

import json
import logging
import re
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from sybil import Example

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
)
EXAMPLES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/README.md"))
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def parse(read: Callable[[str], object], example: Example) -> None:
    """Parse a block with its language's own parser, which raises if it is invalid."""
    read(example.parsed)


SYBIL = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("toml", partial(parse, tomllib.loads)),
        CodeBlockParser("json", partial(parse, json.loads)),
    ],
    path=str(ROOT),
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_code_blocks_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a document run in order, as a reader would run them."""
    monkeypatch.chdir(ROOT)
    # A document may change logging, so it gets a root logger like Lambda's for itself.
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    loggers = dict(logging.root.manager.loggerDict)
    monkeypatch.setattr(logging.root.manager, "loggerDict", loggers)
    for example in SYBIL.parse(ROOT / name).examples():
        example.evaluate()


@pytest.mark.parametrize("name", [*DOCUMENTS, *EXAMPLES])
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link in a document leads to a path in the repository."""
    links = LINK.findall((ROOT / name).read_text("utf-8"))
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_tests_exist(name: str) -> None:
    """Every test that a document names exists, so that its claim stays covered."""
    missing = [
        f"{path}::{test}"
        for path, test in TEST.findall((ROOT / name).read_text("utf-8"))
        if f"def {test}(" not in (ROOT / path).read_text("utf-8")
    ]
    assert missing == []


def test_design_tells_of_every_module() -> None:
    """The design document mentions every module."""
    package = ROOT / "lambda_secrets"
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.py")
        if path.stem != "__init__" and "cli" not in path.relative_to(package).parts
    }
    told = set(re.findall(r"`([\w.]+)`", (ROOT / "docs/design.md").read_text("utf-8")))
    assert modules - told == set()

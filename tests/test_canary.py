"""The leak watch itself: it finds a canary in every place where one can leak."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from lambda_secrets import MemoryBackend, Secrets
from lambda_secrets._sources import parsed_json
from lambda_secrets._values import opaque
from tests.support import canary
from tests.support.canary import NUMBER, TEXT, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable


ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TOKEN,
        f"Input should be an integer, got {TEXT[:14]}...",
        repr(canary.BINARY),
        canary.BINARY,
        bytearray(canary.BINARY),
        canary.BINARY.hex(),
        base64.b64encode(b"x" + canary.BINARY),
        base64.b64encode(f"user:{TEXT}".encode()).decode(),
        json.dumps({"n": NUMBER}),
        TEXT[::-1],
    ],
)
def test_canaries_are_recognized(text: object) -> None:
    """A canary is recognized whole, cut off, encoded or reversed."""
    assert canary.is_in(text)


def test_other_texts_are_no_canaries() -> None:
    """A text without any part of a canary is not recognized as one."""
    assert not canary.is_in("Cannot resolve 'db' (prod/db) through sdk: it is not JSON")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an exception that was raised, with a traceback."""
    error.__cause__ = cause
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


class Leaky(Exception):  # noqa: N818 - not an error
    """Holds what it is given."""

    def __init__(self, **held: Any) -> None:
        super().__init__("no value here")
        vars(self).update(held)


def test_errors_are_seen_through() -> None:
    """A canary in message, attribute, note, cause, context, group or failures is found."""
    noted = ValueError("fine")
    noted.add_note(TEXT)
    document = json.JSONDecodeError("fine", f"[{TEXT}", 1)
    hidden = ValueError("fine")
    hidden.__context__ = document
    hidden.__suppress_context__ = True
    for error in (
        ValueError(TEXT),
        Leaky(doc=TEXT),
        Leaky(held=[object(), {"a": Holder(TEXT)}]),
        Leaky(failures={"a": Leaky(failures={"b": ValueError(TEXT)})}),
        noted,
        raised(ValueError("fine"), document),
        hidden,
        ExceptionGroup("fine", [ValueError("fine"), hidden]),
    ):
        assert canary.leaks(error)
    assert canary.leaks(raised(ValueError("fine"), KeyError("fine"))) == []


class Holder:
    """Holds a value that its `repr` hides but its pickle shows."""

    def __init__(self, value: Any) -> None:
        self.value = value


def test_objects_are_seen_through() -> None:
    """A canary in a `repr`, a pickle or JSON is found."""
    assert canary.leaks(Holder(TEXT)) == [f"pickle {n} of Holder" for n in range(6)]
    assert "json of dict" in canary.leaks({"a": TEXT})
    assert canary.leaks(Holder("fine")) == []


def test_locals_of_our_frames_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in a local variable of the package is found; one in user code is not."""
    user_value = json.dumps(TEXT)

    def interrupted(text: str) -> NoReturn:
        raise KeyboardInterrupt(len(text + user_value))

    monkeypatch.setattr(json, "loads", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        parsed_json(user_value)
    found = [name for name, text in canary.locals_of(caught.value) if canary.is_in(text)]
    assert found == ["local text of parsed_json()"]


class Slotted(MemoryBackend):
    """An object of the package with a slot and a `__dict__` for values."""

    __slots__ = ("slot",)
    slot: str


def test_what_trackers_go_through_is_gone_through() -> None:
    """Mappings, sequences, slots and `__dict__` are searched; `Secrets` shows nothing there."""
    slot, attribute = Slotted({}), Slotted({})
    slot.slot = TEXT
    vars(attribute)["own"] = [TEXT]
    for value in ({1: [TEXT]}, [{TEXT}], ({NUMBER: 1},), slot, [attribute]):
        assert any(canary.is_in(text) for _, text in canary.walked(value, {}))
    secrets = Secrets({"it": opaque(TEXT)})
    assert secrets.it == TEXT
    assert not any(canary.is_in(text) for _, text in canary.walked([{"it": secrets}], {}))


@pytest.mark.parametrize(
    "log",
    [
        lambda logger: logger.log(1, TEXT),
        lambda logger: logger.debug("key %s", TEXT),
        lambda logger: logger.debug("%s", {"a": [TEXT]}),
        lambda logger: logger.debug("fine", extra={"key": TEXT}),
        lambda logger: logger.debug("fine", exc_info=raised(ValueError("fine"), KeyError(TEXT))),
    ],
)
def test_records_of_all_loggers_are_seen(log: Callable[[logging.Logger], None]) -> None:
    """Records are seen at every level, from old, new and non-propagating loggers."""
    old = logging.getLogger("tests.canary.old")
    old.setLevel(logging.CRITICAL)
    apart = logging.getLogger("tests.canary.apart")
    apart.propagate = False
    with canary.watched_logs() as watch:
        for logger in (old, apart, logging.getLogger("tests.canary.new")):
            before = len(watch.leaks)
            log(logger)
            assert len(watch.leaks) == before + 1
    assert old.level == logging.CRITICAL
    assert watch not in apart.handlers


LEAKING = """
import logging, os, sys
import pytest
from lambda_secrets import Secrets
from lambda_secrets._sources import parsed_json
from tests.support import canary

@pytest.mark.parametrize("leak", [
    lambda: print(canary.TEXT),
    lambda: sys.stderr.write(canary.TOKEN),
    lambda: os.write(2, canary.BINARY),
    lambda: os.environ.update(LEAK=canary.TEXT),
    lambda: logging.getLogger("x").log(1, canary.TEXT),
])
def test_leak(leak):
    leak()

def test_none():
    os.environ.pop("LEAK", None)
"""


def test_the_watch_fails_a_test(tmp_path: Path) -> None:
    """A test fails if it prints or logs a canary or puts it into the environment."""
    (tmp_path / "conftest.py").write_text("from tests.leaks.conftest import logs")
    (tmp_path / "test_it.py").write_text(LEAKING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    result = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines()[-1].startswith("6 passed, 5 errors in ")

"""A made-up value that nothing may show, and a search of the places where it could."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import logging
import pickle
import pprint
import traceback
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import TYPE_CHECKING, Any

import lambda_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

PACKAGE = str(Path(lambda_secrets.__file__).parent)

TEXT = "c4nary-V4lue9-fr0m-the-m1ne"
NUMBER = 7391824650918273
BINARY = b"\x00\xff" + TEXT.encode() + b"\xfe"
TOKEN = "t0ken-0f-the-s3ssion-c4ge"
DOCUMENT = {"key": TEXT, "deep": {"list": [TEXT, NUMBER]}, "number": NUMBER, TEXT: "a key", "n": 5}
DOCUMENT_TEXT = json.dumps(DOCUMENT)


def _marks() -> Iterator[bytes]:
    """Yield what gives a canary away: its parts, in case it is cut off, and its encodings."""
    for secret in (TEXT, TOKEN):
        for part in secret.split("-"):
            if len(part) > 4:
                yield part.encode()
        for shift in range(3):  # base64 works in groups of three bytes
            encoded = base64.b64encode(b"-" * shift + secret.encode())
            yield encoded[8:-4]
        yield secret.encode().hex().encode()
        yield secret[::-1].encode()
    yield str(NUMBER).encode()


MARKS = tuple(_marks())
# Text beside the values in the tests' own servers and files contains no mark.
assert not any(mark in b"it prod/db testing" for mark in MARKS)


def is_in(text: object) -> bool:
    """Return whether text or bytes give a canary away."""
    data = (
        bytes(text)
        if isinstance(text, (bytes, bytearray))
        else str(text).encode("utf-8", "replace")
    )
    return any(mark in data for mark in MARKS)


def _attempted(show: Callable[[], Any]) -> Any:
    """Return what is shown, or the traceback if showing it raises."""
    try:
        return show()
    except Exception as error:  # noqa: BLE001 - whatever refuses
        return "\n".join(traceback.format_exception(error))


def shown_by(thing: object) -> Iterator[tuple[str, object]]:
    """Yield everything an object shows of itself, and what a pickle or JSON of it contains."""
    yield "repr", repr(thing)
    yield "str", str(thing)
    yield "format", _attempted(lambda: format(thing))
    yield "format with a specification", _attempted(lambda: format(thing, ">90"))
    yield "pprint", pprint.pformat(thing)
    yield "json", _attempted(lambda: json.dumps(thing))
    yield "json, default=str", _attempted(lambda: json.dumps(thing, default=str))
    for path, text in walked(thing, {}):
        yield f"walk {path}", text
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", _attempted(lambda: pickle.dumps(thing, protocol))  # noqa: B023


def chain_of(error: BaseException) -> list[BaseException]:
    """Return an exception and all linked ones: causes, contexts, members, failures."""
    found: dict[int, BaseException] = {}
    rest: list[object] = [error]
    while rest:
        one = rest.pop()
        if isinstance(one, BaseException) and id(one) not in found:
            found[id(one)] = one
            rest += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
            rest += getattr(one, "failures", {}).values()
    return list(found.values())


def locals_of(error: BaseException) -> Iterator[tuple[str, object]]:
    """Yield the local and free variables of our own frames, as error trackers show them."""
    seen: dict[int, object] = {}
    for one in chain_of(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                for name, value in frame.f_locals.items():
                    where = f"local {name} of {frame.f_code.co_name}()"
                    for path, text in walked(value, seen):
                        yield f"{where}{path and ': '}{path}", text


def walked(root: object, seen: dict[int, object]) -> Iterator[tuple[str, object]]:
    """Yield what trackers and encoders show: mappings, sequences, slots and `__dict__`.

    Slots and `__dict__` are read from our own objects only: others show just what they were given.
    Objects already in `seen` are skipped.
    """
    rest: list[tuple[str, object]] = [("", root)]
    while rest:
        path, one = rest.pop()
        if isinstance(one, (str, bytes, bytearray, int, float)):
            yield path, one
            continue
        if id(one) in seen or isinstance(one, (ModuleType, type)):
            continue
        seen[id(one)] = one
        yield path, _attempted(lambda: repr(one))  # noqa: B023
        if isinstance(one, Mapping):
            for key, item in one.items():
                rest += [(f"{path}<key>", key), (f"{path}[{key!r}]", item)]
        elif isinstance(one, (list, tuple, set, frozenset, deque)):
            rest += [(f"{path}[]", item) for item in one]
        rest += _attributes(path, one)


def _attributes(path: str, one: object) -> Iterator[tuple[str, object]]:
    kinds = type(one).__mro__
    if not any(kind.__module__.partition(".")[0] == "lambda_secrets" for kind in kinds):
        return
    slots = [slot for kind in kinds for slot in kind.__dict__.get("__slots__", ())]
    # As a tracker does: past __getattr__, which would fetch.
    for name in (*slots, *getattr(one, "__dict__", {})):
        with contextlib.suppress(AttributeError):
            yield f"{path}.{name}", object.__getattribute__(one, name)


def said_by(error: BaseException) -> Iterator[tuple[str, object]]:
    """Yield everything that an exception, and those linked to it, say, hold and show."""
    for one in chain_of(error):
        kind = type(one).__name__
        yield f"{kind}'s message", str(one)
        yield f"{kind}'s args", repr(one.args)
        yield f"{kind}'s attributes", repr(vars(one))
        yield f"{kind}'s notes", repr(getattr(one, "__notes__", None))
        for how, text in shown_by(one):
            yield f"{kind}'s {how}", text
        for text in texts_below(one):
            yield f"what {kind} refers to", text
    yield "traceback", "".join(traceback.format_exception(error))
    yield from locals_of(error)


_APART = (ModuleType, type, FunctionType, BuiltinFunctionType, MethodType, CodeType)
_FRAMES = (FrameType, TracebackType)


def texts_below(*roots: object) -> Iterator[str | bytes | bytearray]:
    """Yield the strings that live objects refer to, except through tracebacks and code."""
    seen: set[int] = set()
    rest: list[Any] = list(roots)
    while rest:
        one = rest.pop()
        if id(one) in seen or isinstance(one, (*_APART, *_FRAMES)):
            continue
        seen.add(id(one))
        if isinstance(one, (str, bytes, bytearray)):
            yield one
        rest += gc.get_referents(one)


def leaks(*things: object) -> list[str]:
    """Return where these objects and exceptions give a canary away."""
    return [
        f"{how} of {type(thing).__name__}"
        for thing in things
        for how, text in (said_by(thing) if isinstance(thing, BaseException) else shown_by(thing))
        if is_in(text)
    ]


class LogWatch(logging.Handler):
    """Checks every record of every logger at level 1, and notes those that show a canary."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.count = 0
        self.names: set[str] = set()
        self.leaks: list[str] = []
        self._lowered: list[tuple[logging.Logger, int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Check the record's message, arguments, exception and other attributes."""
        self.count += 1
        self.names.add(record.name)
        seen: list[object] = [
            record.getMessage(),
            record.msg,
            repr(record.args),
            repr(vars(record)),
        ]
        if record.exc_info and record.exc_info[1] is not None:
            seen += [text for _, text in said_by(record.exc_info[1])]
        if any(map(is_in, seen)):
            self.leaks.append(f"{record.name} {record.levelname}: {record.msg}")

    def install(self) -> None:
        """Lower every existing logger to level 1, and watch what it logs."""
        named = (logger for logger in logging.root.manager.loggerDict.values())
        for logger in (logging.root, *named):
            if isinstance(logger, logging.Logger):
                self._lowered.append((logger, logger.level))
                logger.setLevel(1)
                if logger is logging.root or not logger.propagate:
                    logger.addHandler(self)

    def remove(self) -> None:
        """Restore the loggers."""
        for logger, level in self._lowered:
            logger.setLevel(level)
            logger.removeHandler(self)


@contextlib.contextmanager
def watched_logs() -> Generator[LogWatch]:
    """Watch all logs at level 1."""
    watch = LogWatch()
    watch.install()
    try:
        yield watch
    finally:
        watch.remove()

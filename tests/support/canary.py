"""A made-up value that nothing may show, and the places where one looks for it."""

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
    """Go through what gives a canary away: its parts, as somebody may cut it off, and encodings."""
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
# What stands beside a value in the tests' own servers and files has no part of it.
assert not any(mark in b"it prod/db testing" for mark in MARKS)


def is_in(text: object) -> bool:
    """Whether a text, or bytes, give a canary away."""
    data = (
        bytes(text)
        if isinstance(text, (bytes, bytearray))
        else str(text).encode("utf-8", "replace")
    )
    return any(mark in data for mark in MARKS)


def _attempted(show: Callable[[], Any]) -> Any:
    """Return what is shown, or the text of the refusal."""
    try:
        return show()
    except Exception as error:  # noqa: BLE001 - whatever refuses
        return "\n".join(traceback.format_exception(error))


def shown_by(thing: object) -> Iterator[tuple[str, object]]:
    """Go through all that an object shows of itself, and that a pickle or JSON of it holds."""
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
    """Return an exception with all that it is linked to: causes, contexts, members, failures."""
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
    """Go through the local and free variables of our own frames, as error trackers show them."""
    seen: dict[int, object] = {}
    for one in chain_of(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                for name, value in frame.f_locals.items():
                    where = f"local {name} of {frame.f_code.co_name}()"
                    for path, text in walked(value, seen):
                        yield f"{where}{path and ': '}{path}", text


def walked(root: object, seen: dict[int, object]) -> Iterator[tuple[str, object]]:
    """Go through what trackers and encoders show: mappings, sequences, slots and `__dict__`.

    Slots and `__dict__` of our own objects alone: what others' show was given to them. What was
    seen is not looked into again.
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
    """Go through all that an exception says, holds and shows, and those that it is linked to."""
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
    """Go through the strings that live objects refer to, tracebacks and code left out."""
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
    """Sees every record of every logger at level 1, and keeps where it gives a canary away."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.count = 0
        self.names: set[str] = set()
        self.leaks: list[str] = []
        self._lowered: list[tuple[logging.Logger, int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look into the record, its arguments, its exception, its other attributes."""
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
        """Lower every logger there is to level 1, and see what they log."""
        named = (logger for logger in logging.root.manager.loggerDict.values())
        for logger in (logging.root, *named):
            if isinstance(logger, logging.Logger):
                self._lowered.append((logger, logger.level))
                logger.setLevel(1)
                if logger is logging.root or not logger.propagate:
                    logger.addHandler(self)

    def remove(self) -> None:
        """Leave the loggers as they were."""
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

"""Keeps secret values out of the application's own logs: `RedactSecrets`, a logging filter."""

from __future__ import annotations

import copy
import json
import logging
import operator
import os
import sys
import threading
from binascii import b2a_base64
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakSet

from ._cache import shared_cache
from ._values import opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import NoReturn, Self

__all__ = ["RedactSecrets"]

MASK = "***"
SHORTEST = 8  # characters: a shorter string may be part of any word
LIMIT = 2_000  # strings kept
CHARACTERS = 2_000_000  # in all strings kept
DEPTH = 16  # levels of nested containers; deeper ones are redacted as text

_PREFIX = 120  # characters compared before a long string is escaped; base64 needs a multiple of 3
_GRAM = 5  # characters. Every fourth gram of a text is looked up: one lies within any 8 characters
_STEP = SHORTEST - _GRAM + 1

# Before Python 3.12 a filter cannot replace the record, only change it.
_REPLACES = sys.version_info >= (3, 12)
_WITHOUT_VALUES = {
    *("name", "levelname", "levelno", "pathname", "filename", "module", "lineno", "funcName"),
    *("created", "msecs", "relativeCreated", "asctime", "thread", "threadName"),
    *("process", "processName", "taskName", "exc_info"),
}
_SMALLEST = 10 ** (SHORTEST - 1)
# Characters that URLs leave as they are: quote, forms, SQLAlchemy, requests, urllib3, JavaScript.
_SAFE = ("", "/", " ", " +", "!#$%&'()*+,/:;=?@[]~", "!$&'()*+,;=:@/?", "!'()*~")
_CONTAINERS: tuple[tuple[type, Callable[[Any], Iterable[Any]]], ...] = (
    *((dict, dict.values), (list, list.__iter__), (tuple, tuple.__iter__)),
    *((set, set.__iter__), (frozenset, frozenset.__iter__)),
)


class RedactSecrets(logging.Filter):
    """Replaces every value injected in this process by ``***`` in log records.

    Values are strings of at least 8 characters, also those inside JSON; they are found as plain
    text and as JSON, `repr` or a URL escape them, bytes as text, base64 or hex. Values from before
    a rotation stay redacted. The 2,000 strings used last are kept, up to 2,000,000 characters.

    Add it to log handlers, not to loggers: a logger's filter sees only its own records.
    On Python 3.12 and later, other handlers get the original record; on 3.11, the redacted one.
    """

    def __init__(self) -> None:
        """Learn the values in the cache, and every later one."""
        super().__init__()
        self._known = opaque(_Known())
        _filters.add(self)
        shared_cache.listen(self)

    def filter(self, record: logging.LogRecord) -> Any:
        """Let every record pass, a record that shows a value as a redacted copy."""
        if not self._known(0):
            return True
        redacted = _Redaction(self._known(0).complete().redact).apply(record)
        return redacted if _REPLACES and redacted is not record else True

    def redact(self, text: str) -> str:
        """Return the text with ``***`` for each value: for output that passes no log handler."""
        return self._known(0).complete().redact(text)

    def learn(self, value: Any) -> None:
        """Redact this value, too, and the strings in it: a token derived from a secret, say."""
        known = self._known(0)
        known.learn(value)
        known.catch_up()

    def forget(self) -> None:
        """Drop every value."""
        self._known = opaque(_Known())

    def after_fork(self) -> None:
        """Take a new lock: another thread of the parent may have held the old one."""
        self._known(0).renew_lock()

    def __copy__(self) -> Self:
        """Return itself: a copied log handler keeps learning."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: a copied log handler keeps learning."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would hold the values."""
        raise TypeError("Cannot pickle RedactSecrets: the pickle would hold secret values.")


_filters: WeakSet[RedactSecrets] = WeakSet()


def _after_fork() -> None:
    for one in list(_filters):
        one.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)


class _Known:
    """The strings to redact, and an index that finds them in a text.

    No thread ever waits here, so signal handlers, finalizers and forked children may log and
    learn: one thread at a time extends the index, the others search a private one meanwhile.
    Each operation on a dictionary is atomic, so reading takes no lock.
    """

    def __init__(self) -> None:
        self._strings: OrderedDict[Any, _String] = OrderedDict()  # least recently used first
        self._new: dict[Any, _String] = {}  # not in the index yet
        self._index: dict[str, dict[Any, None]] = {}  # gram → starts, start → strings
        self._characters = 0
        self.renew_lock()

    def __bool__(self) -> bool:
        return bool(self._strings or self._new)

    def renew_lock(self) -> None:
        self._lock = threading.RLock()
        self._busy = False

    def learn(self, value: Any) -> None:
        """Note every string in a value; its own classes' code is not run."""
        rest = [value]
        while rest:
            item = rest.pop()
            content = _content(item)
            if content is None:
                rest += _items(item)
                continue
            key = content if isinstance(content, str) else (content,)  # str == bytes may warn
            try:
                self._strings.move_to_end(key)
                rest += self._strings[key].inside
            except KeyError:
                string = _String(content)
                if len(content) >= SHORTEST:
                    self._new[key] = string
                rest += string.inside

    def complete(self) -> _Known:
        """Return an index of all that is known: this one, or a copy while another is writing."""
        if self.catch_up():
            return self
        private = _Known()
        new = list(self._new.values())  # first: meanwhile they move over to the others
        for string in (*self._strings.values(), *new):
            private._add(string)  # noqa: SLF001 - its own class
        return private

    def catch_up(self) -> bool:
        """Index what is new; return False if another thread, or this one, is at it already."""
        if not self._new:
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._busy:  # a signal handler or finalizer interrupted this thread below
                return False
            try:
                self._busy = True
                self._index_new()
            finally:
                self._busy = False
        finally:
            self._lock.release()
        return True

    def _index_new(self) -> None:
        """Index new strings and drop old ones; an interrupted run is simply repeated."""
        while self._new:
            for key, string in list(self._new.items()):
                if key not in self._strings:
                    self._add(string)
                    self._strings[key] = string
                    self._characters += len(string.content)
                self._new.pop(key, None)
        while len(self._strings) > (LIMIT if self._characters <= CHARACTERS else 1):
            _, oldest = self._strings.popitem(last=False)
            self._characters -= len(oldest.content)
            self._remove(oldest)

    def _add(self, string: _String) -> None:
        for start in string.starts():
            self._index.setdefault(start, {})[string] = None
            for gram in _grams(start, 1):
                self._index.setdefault(gram, {})[start] = None

    def _remove(self, string: _String) -> None:
        for start in string.starts():
            if self._unlink(start, string):
                for gram in _grams(start, 1):
                    self._unlink(gram, start)

    def _unlink(self, key: str, item: Any) -> bool:
        """Take an item off the index; return whether it was the last one there."""
        items = self._index.get(key, {})
        items.pop(item, None)
        return not items and self._index.pop(key, None) is not None

    def redact(self, text: str) -> str:
        """Return the text with a mask for each string; strings that overlap share one."""
        grams = _grams(text, _STEP)
        if self._index.keys().isdisjoint(grams):
            return text
        parts: list[str] = []
        done = 0
        for number, gram in enumerate(grams):
            if gram not in self._index:
                continue
            place = number * _STEP
            for start in range(max(place - _STEP + 1, 0), place + 1):
                strings = list(self._index.get(text[start : start + SHORTEST], ()))
                length = max((one.length_at(text, start) for one in strings), default=0)
                if length:
                    if start >= done:
                        parts += text[done:start], MASK
                    done = max(done, start + length)
        return "".join((*parts, text[done:])) if parts else text


def _grams(text: str, step: int) -> list[str]:
    return [text[place : place + _GRAM] for place in range(0, len(text) - _GRAM + 1, step)]


class _String:
    """A string to redact: the forms it may take in a log, and the values inside it."""

    __slots__ = ("begins", "content", "inside", "whole")

    def __init__(self, content: str | bytes) -> None:
        self.content = content
        self.inside = _inside(content)
        self.begins: tuple[str, ...] = ()
        self.whole: list[str] = []

    def starts(self) -> set[str]:
        """Return the first characters of every form."""
        self.begins = self.begins or tuple(_forms(self.content[:_PREFIX]))
        return {form[:SHORTEST] for form in self.begins}

    def length_at(self, text: str, start: int) -> int:
        """Return the length of the longest form that the text has at this place, or 0."""
        if not text.startswith(self.begins, start):
            return 0
        if not self.whole:
            short = len(self.content) <= _PREFIX
            forms = self.begins if short else _forms(self.content)
            self.whole = sorted(forms, key=len, reverse=True)
        return next((len(form) for form in self.whole if text.startswith(form, start)), 0)


def _content(item: Any) -> str | bytes | None:
    """Return an item as a plain string to look for, or None if it is none."""
    kind = type(item)
    if issubclass(kind, int):
        return int.__repr__(item) if _SMALLEST <= int.__abs__(item) < 10**100 else ""
    if issubclass(kind, str):
        return "".join([item]).strip().lstrip("\ufeff")
    return b"".join([item]) if issubclass(kind, (bytes, bytearray)) else None


def _items(item: Any) -> Iterable[Any]:
    """Return the items of a container."""
    return next((items(item) for base, items in _CONTAINERS if issubclass(type(item), base)), ())


def _inside(content: str | bytes) -> list[Any]:
    """Return what else a string stands for: text of bytes, and what JSON holds."""
    found: list[Any] = []
    if isinstance(content, bytes):
        with suppress(UnicodeDecodeError):
            found.append(content.decode())
    elif content[:1] not in {"{", "[", '"'}:
        return found
    with suppress(ValueError, RecursionError):
        found.append(json.loads(content))  # bytes may be UTF-16, too
    return found


def _forms(content: str | bytes) -> set[str]:
    """Return how a log may write a string, by itself or inside something else.

    Forms of a prefix are prefixes of the forms: each character is escaped by itself.
    """
    if isinstance(content, bytes):
        encoded = b2a_base64(content, newline=False).decode().rstrip("=")
        urlsafe = encoded.replace("+", "-").replace("/", "_")
        return {encoded, urlsafe, content.hex(), repr(content)[2:-1], repr(b"\"'" + content)[5:-1]}
    urls = {quote(content, safe, errors="replace") for safe in _SAFE}
    forms = {content}
    if urls == forms:  # nothing escapes it
        return forms
    for _ in range(2):  # JSON inside JSON is escaped twice
        forms |= {escaped for form in forms for escaped in _escaped(form)}
    urls |= {url.replace(" ", "+") for url in urls}
    return forms | urls | {_with_lower_case_escapes(url) for url in urls}


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    for show in (repr, ascii, _repr_of_bytes):
        yield show(text)[1:-1]
        yield show("\"'" + text)[4:-1]  # beside both kinds of quotes, its own are escaped


def _repr_of_bytes(text: str) -> str:
    return repr(text.encode(errors="replace"))[1:]


def _with_lower_case_escapes(url: str) -> str:
    head, *escapes = url.split("%")
    return "".join((head, *(f"%{escape[:2].lower()}{escape[2:]}" for escape in escapes)))


class _StandIn(str):
    """The redacted text of an object. No format fails on it: it passes for a number, too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        try:
            return super().__format__(spec)
        except ValueError:
            return str(self)

    def __int__(self) -> int:
        return 0

    __index__ = __int__

    def __float__(self) -> float:
        return 0.0

    def __getattr__(self, name: str) -> Self:
        if name.startswith("_"):
            raise AttributeError(name)
        return self  # for a format such as {user.name}

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


class _Redaction:
    """Redacts one record. What shows no value stays the very same object."""

    __slots__ = ("_redact",)

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def apply(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return the record itself if it shows no value, else a redacted one."""
        text = _told(record)
        message = text and self._redact(text)
        known = vars(record)
        changes = {k: self._cleaned(v) for k, v in known.items() if k not in _WITHOUT_VALUES}
        info = record.exc_info
        if isinstance(info, tuple) and info[1] is not None:
            error: Any = self._cleaned(info[1])
            if error is MASK:
                changes |= {"exc_info": None, "exc_text": MASK}
            elif error is not info[1]:
                # The text that an earlier formatter made quotes the original.
                changes |= {"exc_info": (type(error), error, info[2]), "exc_text": None}
        changes = {name: value for name, value in changes.items() if value is not known.get(name)}
        if not changes and message is text:
            return record
        redacted = _attempt(copy.copy, record) if _REPLACES else None
        if redacted is None:
            redacted = record
        vars(redacted).update(changes)
        if text is not None and not self._reads_as(message, redacted):
            # A format may want a number, or bring out a value that no argument has by itself.
            vars(redacted).update(msg=message, args=())
            if _told(redacted) != message:  # a class with a format of its own
                vars(redacted)["getMessage"] = message.__str__
        return redacted

    def _reads_as(self, message: Any, redacted: logging.LogRecord) -> bool:
        """Whether a record still tells the message, padding aside, and no value."""
        told = _told(redacted)
        if told is None or self._redact(told) is not told:
            return False
        return not redacted.args or told.split() == message.split()

    def _cleaned(self, value: Any) -> Any:
        try:
            return self._clean(value)
        except Exception:  # noqa: BLE001 - others' properties and iterators may raise
            return MASK

    def _clean(self, value: Any, above: tuple[int, ...] = ()) -> Any:
        """Return the value or its redacted stand-in: containers keep their form."""
        if isinstance(value, str):
            return self._redact(value)
        if value is None or isinstance(value, float) or _is_small(value):
            return value
        if len(above) < DEPTH and id(value) not in above:
            above = (*above, id(value))
            if isinstance(value, BaseException):
                return self._error(value, above)
            if isinstance(value, (dict, list, tuple, set, frozenset)):
                return self._container(value, above)
        shown = [_attempt(str, value) or "", _attempt(repr, value) or ""]
        redacted = [self._redact(text) for text in shown]
        return value if redacted == shown else _StandIn(redacted[0] or MASK)

    def _container(self, value: Any, above: tuple[int, ...]) -> Any:
        if isinstance(value, dict):
            items = [part for item in value.items() for part in item]
        else:
            items = [*value]
        cleaned = [self._clean(item, above) for item in items]
        if all(map(operator.is_, cleaned, items)):
            return value
        if isinstance(value, dict):
            return dict(zip(cleaned[::2], cleaned[1::2], strict=True))
        kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
        return getattr(value, "_make", kind)(cleaned)  # a named tuple keeps its names

    def _error(self, error: BaseException, above: tuple[int, ...]) -> BaseException:
        """Return the exception, or stand-ins for it and for every exception linked to it."""
        linked = _linked(error)
        if not any(self._quotes(one, above) for one in linked):
            return error
        stand_ins: dict[int, BaseException] = {}
        for one in reversed(linked):  # the members of a group come after it
            text = self._redact(_attempt(str, one) or "")
            stand_ins[id(one)] = _stand_in(one, text, [stand_ins.get(id(m)) for m in _members(one)])
        for one in linked:
            made = stand_ins[id(one)]
            made.__cause__ = stand_ins.get(id(one.__cause__))
            made.__context__ = stand_ins.get(id(one.__context__))
            made.__suppress_context__ = one.__suppress_context__
            notes = getattr(one, "__notes__", ())
            for note in notes if isinstance(notes, (list, tuple)) else ():
                made.add_note(self._redact(_attempt(str, note) or ""))
        return stand_ins[id(error)]

    def _quotes(self, error: BaseException, above: tuple[int, ...]) -> bool:
        parts = (_attempt(str, error) or "", error.args, vars(error))
        return any(self._clean(part, (*above, id(error))) is not part for part in parts)


def _is_small(value: Any) -> bool:
    """Whether it is a number with fewer digits than any that is redacted."""
    return isinstance(value, int) and -_SMALLEST < value < _SMALLEST


def _attempt(call: Callable[..., Any], *args: Any) -> Any:
    """Return what others' code returns, or None if it raises."""
    try:
        return call(*args)
    except Exception:  # noqa: BLE001
        return None


def _told(record: logging.LogRecord) -> Any:
    """Return the record's message, or None if its arguments do not fit: logging reports that."""
    told = _attempt(record.getMessage)
    return told if told is None or isinstance(told, str) else _attempt(str, told)


def _linked(error: BaseException) -> list[BaseException]:
    """Return an exception with its causes, contexts and members of groups."""
    found = {id(error): error}
    rest = [error]
    while rest:
        one = rest.pop()
        for other in (one.__cause__, one.__context__, *_members(one)):
            if other is not None and id(other) not in found:
                found[id(other)] = other
                rest.append(other)
    return list(found.values())


def _members(error: BaseException) -> Sequence[BaseException]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _stand_in(
    error: BaseException, text: str, members: Sequence[BaseException | None]
) -> BaseException:
    """Return an exception that logs show like another one, with that text."""
    kind = type(error)
    looks: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    there = [member for member in members if member is not None]
    made: BaseException
    if there:
        looks["__str__"] = lambda _: text  # a group's own would count its members once more
        made = type(kind.__name__, (BaseExceptionGroup,), looks)(text, there)
    else:
        made = type(kind.__name__, (Exception,), looks)(text)
    return made.with_traceback(error.__traceback__)

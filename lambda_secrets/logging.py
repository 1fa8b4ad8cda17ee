"""Keeps secret values out of the application's own logs: `RedactSecrets`, a logging filter."""

from __future__ import annotations

import json
import logging
import operator
import re
from binascii import b2a_base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._cache import shared_cache
from ._maintenance import listen
from ._values import Shared, opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["RedactSecrets"]

MASK = "***"
SHORTEST = 8  # characters: a shorter string may be part of any word
LIMIT = 20_000  # strings kept
CHARACTERS = 2_000_000  # kept in all these strings together
DEPTH = 16  # levels of nested containers; deeper ones are redacted as text
_PREFIX = 120  # characters compared before a long string is escaped; base64 needs a multiple of 3
_FULL = (
    "RedactSecrets is full (%d strings or %d characters): those used least recently are no longer"
    " redacted. Inject only the parts that you need of large documents, such as 'name#key'."
)

_WITHOUT_VALUES = {"asctime", *vars(logging.LogRecord("", 0, "", 0, "", (), None))} - {
    *("msg", "args", "exc_text", "stack_info"),
}
_SMALLEST = 10 ** (SHORTEST - 1)
_COLLECTIONS = (list, tuple, set, frozenset)  # looked into, as dicts are
_ESCAPE = re.compile("%[^%]{0,2}")  # in a URL; compiled once, to leave the cache of `re` alone
# Characters left unescaped in URLs by quote, forms, SQLAlchemy, requests, urllib3, JavaScript.
_SAFE = ("", "/", " ", " +", "!#$%&'()*+,/:;=?@[]~", "!$&'()*+,;=:@/?", "!'()*~")


class RedactSecrets(Shared, logging.Filter):
    """Replaces every value injected in this process by ``***`` in log records.

    Add it to log handlers, not to loggers: a logger's filter sees only its own records::

        for handler in logging.getLogger().handlers:
            handler.addFilter(RedactSecrets())

    Values are strings of at least 8 characters and whole numbers of at least 8 digits, including
    those inside JSON. They are found as plain text and as escaped by JSON, `repr` or URLs; bytes as
    text, base64 or hex. Old values stay redacted after a rotation. The 20,000 strings used last are
    kept, up to 2,000,000 characters; a warning tells that one was dropped.

    Handlers that come later get the redacted record, too. A copy of it is the filter itself, so
    that a copied log handler keeps learning.
    """

    def __init__(self) -> None:
        """Learn the values in the cache, and every later one."""
        super().__init__()
        self.forget()
        listen(shared_cache, self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass; redact one that shows a value. Its other objects stay the same."""
        if not self._known(0):
            return True
        text = _message(record)
        message = text and self.redact(text)
        changes = self._changes(record)
        vars(record).update(changes)
        shown = text is not None and (changes or message is not text)
        if shown and not self._reads_as(message, record):
            # A format may need a number, or combine arguments into a value.
            vars(record).update(msg=message, args=())
            if _message(record) != message:  # a class with a format of its own
                vars(record)["getMessage"] = message.__str__
        if self._known(0).full:  # here, not where it was found: those frames hold values
            self._known(0).full = False
            _attempt(logging.getLogger("lambda_secrets").warning, _FULL, LIMIT, CHARACTERS)
        return True

    def redact(self, text: str) -> str:
        """Return the text with ``***`` for each value: for output that passes no log handler."""
        redacted: str = self._known(0).redact(text)
        return redacted

    def learn(self, value: Any) -> None:
        """Redact this value, too, and the strings in it: a token derived from a secret, say."""
        self._known(0).learn(value)

    def forget(self) -> None:
        """Drop every value."""
        self._known = opaque(_Known())

    def _changes(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the attributes that show a value, redacted."""
        known = vars(record)
        changes: dict[str, Any] = {}
        for name in known.keys() - _WITHOUT_VALUES:
            cleaned = _attempt(self._clean, known[name], failed=MASK)
            if cleaned is not known[name]:
                changes[name] = cleaned
        info = record.exc_info
        if isinstance(info, tuple) and info[1] is not None:
            error = _attempt(self._clean, info[1])  # formatters need the traceback as it is
            if error is not info[1]:
                # exc_text, which an earlier formatter made, quotes the original.
                changes["exc_info"] = error and (type(error), error, info[2])
                changes["exc_text"] = None if error else MASK
        return changes

    def _reads_as(self, message: Any, redacted: logging.LogRecord) -> bool:
        """Whether the record reads as the message, padding aside, and shows no value."""
        told = _message(redacted)
        if told is None or self.redact(told) is not told:
            return False
        return not redacted.args or told.split() == message.split()

    def _clean(self, value: Any, above: tuple[int, ...] = ()) -> Any:
        """Return the value or its redacted stand-in: containers keep their form."""
        if isinstance(value, str):
            return self.redact(value)
        is_small = isinstance(value, int) and -_SMALLEST < value < _SMALLEST
        if is_small or value is None or isinstance(value, float):
            return value
        if len(above) < DEPTH and id(value) not in above:
            above = (*above, id(value))
            if isinstance(value, BaseException):
                return self._error(value, above)
            if isinstance(value, (dict, *_COLLECTIONS)):
                return self._container(value, above)
        shown = [_text(value), _attempt(repr, value, failed="")]
        redacted = [self.redact(text) for text in shown]
        return value if redacted == shown else redacted[0] or MASK

    def _container(self, value: Any, above: tuple[int, ...]) -> Any:
        is_dict = isinstance(value, dict)
        items = [part for item in value.items() for part in item] if is_dict else [*value]
        cleaned = [self._clean(item, above) for item in items]
        if all(map(operator.is_, cleaned, items)):
            return value
        if is_dict:
            return dict(zip(cleaned[::2], cleaned[1::2], strict=True))
        kind = next(kind for kind in _COLLECTIONS if isinstance(value, kind))
        return getattr(value, "_make", kind)(cleaned)  # a named tuple keeps its names

    def _error(self, error: BaseException, above: tuple[int, ...]) -> Any:
        """Return the exception, or stand-ins for it and for every exception linked to it."""
        linked = _linked(error)
        above = (*above, *map(id, linked))
        parts = [part for one in linked for part in (_text(one), one.args, vars(one))]
        if all(self._clean(part, above) is part for part in parts):
            return error
        made: dict[int, Any] = {}
        for one in reversed(linked):  # the members of a group come after it
            made[id(one)] = self._stand_in(one, made)
        for one in linked:
            stand_in = made[id(one)]
            stand_in.__cause__ = made.get(id(one.__cause__))
            stand_in.__context__ = made.get(id(one.__context__))
            stand_in.__suppress_context__ = one.__suppress_context__
        return made[id(error)]

    def _stand_in(self, error: BaseException, made: dict[int, Any]) -> Any:
        """Return an exception that looks like another one in logs, with redacted text and notes."""
        kind = type(error)
        text = self.redact(_text(error))
        looks: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        looks["__str__"] = lambda _: text  # a group's own would count its members once more
        looks["__reduce__"] = lambda one: (Exception, (text,), vars(one))  # its class is only here
        members = [made[id(member)] for member in _members(error) if id(member) in made]
        base, args = (BaseExceptionGroup, (text, members)) if members else (Exception, (text,))
        stand_in = type(kind.__name__, (base,), looks)(*args)
        notes = getattr(error, "__notes__", ())
        for note in notes if isinstance(notes, (list, tuple)) else ():
            stand_in.add_note(self.redact(_text(note)))
        stand_in.__traceback__ = error.__traceback__
        return stand_in


class _Known:
    """The strings to redact, in generations: the last takes what is used, and the first is dropped.

    There is no lock, so signal handlers, finalizers, other threads and forked children may log and
    learn at any moment. Each change is one atomic operation of a dictionary or list, nothing is
    removed from a generation, and a string that two frames index at once is found all the same.
    """

    def __init__(self) -> None:
        self.generations = {0: _Generation()}  # by number: one or two, or three for a moment
        self.full: bool | None = None  # whether a warning is due; False once it was given

    def __bool__(self) -> bool:
        return any(generation.strings for generation in list(self.generations.values()))

    def learn(self, value: Any) -> None:
        """Index every string in a value without running code of its classes."""
        used = max(self.generations.copy().items())[1].strings
        found = [value]
        seen: set[int] = set()  # a container may contain itself
        for item in found:  # grows in the loop
            content = _content(item)
            if content is None:
                if id(item) not in seen:
                    seen.add(id(item))
                    found += _items(item)
            elif len(content) >= SHORTEST:
                key = content if isinstance(content, str) else (content,)  # bytes == str may warn
                found += (used.get(key) or self._put(key, content)).inside

    def _put(self, key: object, content: str | bytes) -> _String:
        """Put a string into the last generation, and return it."""
        string = None
        while True:  # again if others begin another generation meanwhile
            number, last = max(self.generations.copy().items())  # a finalizer may add one
            if key in last.strings:
                return last.strings[key]
            if len(last.strings) < LIMIT and last.characters < CHARACTERS:
                string = string or _String(content)
                last.add(key, string)
                continue
            if self.generations.pop(number - 1, None) and self.full is None:
                self.full = True
            self.generations.setdefault(number + 1, _Generation())  # one for all threads

    def redact(self, text: str) -> str:
        """Return the text with a mask for each string; strings that overlap share one."""
        if len(text) < SHORTEST:
            return text
        data = str.encode(text, errors="surrogatepass")
        blocks = _blocks(data)
        found: list[tuple[int, int]] = []
        for generation in list(self.generations.values()):
            if not generation.blocks.keys().isdisjoint(blocks):
                found += generation.found(data, blocks)
        if not found:
            return text
        parts: list[bytes] = []
        done = 0
        for start, end in sorted(found):
            if start >= done:
                parts += data[done:start], MASK.encode()
            done = max(done, end)
        return b"".join((*parts, data[done:])).decode(errors="surrogatepass")


class _Generation:
    """Strings by their keys, and an index that finds them in UTF-8."""

    __slots__ = ("blocks", "characters", "index", "strings")

    def __init__(self) -> None:
        self.strings: dict[object, _String] = {}
        self.characters = 0
        # The strings by 8 bytes of each form, with their place; and the blocks of 4 bytes in these.
        # Any 8 bytes of a text hold one of its 4-byte blocks, so looking up each finds all strings.
        self.index: dict[bytes, list[tuple[_String, int]]] = {}
        self.blocks: dict[int, None] = {}

    def add(self, key: object, string: _String) -> None:
        """Index a string; only a string that can be found is among the strings."""
        for window, place in set(map(self._rarest, string.begins)):
            self.index.setdefault(window, []).append((string, place))
            parts = b"".join(window[at : at + 4] for at in range(4))
            self.blocks.update(dict.fromkeys(_blocks(parts)))
        self.characters += len(string.content)
        self.strings[key] = string

    def _rarest(self, form: bytes) -> tuple[bytes, int]:
        """Return the 8 bytes that fewest other forms have, with their place: not "https://"."""
        last = len(form) - SHORTEST
        windows = [(form[at : at + SHORTEST], at) for at in (*range(0, last, SHORTEST), last)]
        return min(windows, key=lambda window: len(self.index.get(window[0], ())))

    def found(self, data: bytes, blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Yield where each string begins and ends."""
        numbers = (number for number, block in enumerate(blocks) if block in self.blocks)
        for at in (max(4 * number - back, 0) for number in numbers for back in range(4)):
            for string, place in self.index.get(data[at : at + SHORTEST], ()):
                yield from string.found(data, at - place)


def _blocks(data: bytes) -> memoryview[int]:
    """Return the blocks of 4 bytes in a text, as numbers."""
    return memoryview(data)[: len(data) & ~3].cast("I")


class _String:
    """A string to redact, with the forms that it may take in a log."""

    __slots__ = ("_forms", "begins", "content", "inside")

    def __init__(self, content: str | bytes) -> None:
        self.content = content
        self.inside = _inside(content)
        self.begins = tuple(_forms(content[:_PREFIX]))
        self._forms = () if len(content) > _PREFIX else self.begins

    def found(self, data: bytes, start: int) -> list[tuple[int, int]]:
        """Return the start and the end of each form that stands at this place."""
        if start < 0 or not data.startswith(self.begins, start):
            return []
        self._forms = self._forms or tuple(_forms(self.content))
        return [(start, start + len(form)) for form in self._forms if data.startswith(form, start)]


def _content(item: Any) -> str | bytes | None:
    """Return the string to look for, "" for a short number, None for anything else."""
    kind = type(item)
    if issubclass(kind, int):
        return int.__repr__(item) if _SMALLEST <= int.__abs__(item) < 10**100 else ""
    if issubclass(kind, str):
        return str.strip(item).lstrip("\ufeff")
    return bytes.join(b"", (item,)) if issubclass(kind, (bytes, bytearray)) else None


def _items(container: Any) -> Iterable[Any]:
    kind = type(container)
    if issubclass(kind, dict):
        return dict.values(container)
    bases = (base for base in _COLLECTIONS if issubclass(kind, base))
    return next((base.__iter__(container) for base in bases), ())


def _inside(content: str | bytes) -> list[Any]:
    """Return what a string holds: text in bytes, and the values of JSON."""
    found: list[Any] = []
    if isinstance(content, bytes):
        with suppress(UnicodeDecodeError):
            found.append(content.decode())
    elif content[:1] not in {"{", "[", '"'}:
        return found
    with suppress(ValueError, RecursionError):
        found.append(json.loads(content))  # bytes may be UTF-16, too
    return found


def _forms(content: str | bytes) -> set[bytes]:
    """Return the forms in which a log may write a string, alone or inside something else.

    Every character is escaped by itself, so the forms of a prefix are prefixes of the forms.
    """
    if isinstance(content, bytes):
        encoded = b2a_base64(content, newline=False).rstrip(b"=")
        shown = (content.hex(), repr(content)[2:-1], repr(b"\"'" + content)[5:-1])
        urlsafe = encoded.replace(b"+", b"-").replace(b"/", b"_")
        return {encoded, urlsafe, *map(str.encode, shown)}
    forms = {content}
    urls = {quote(content, safe, errors="replace") for safe in _SAFE}
    if urls != forms:  # else it has nothing to escape
        for _ in range(2):  # JSON inside JSON is escaped twice
            forms |= {escaped for form in forms for escaped in _escaped(form)}
        urls |= {url.replace(" ", "+") for url in urls}
        forms |= urls | {_ESCAPE.sub(lambda match: match[0].lower(), url) for url in urls}
    return {form.encode(errors="surrogatepass") for form in forms}


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    for show in (repr, ascii, lambda text: repr(text.encode(errors="replace"))[1:]):
        yield show(text)[1:-1]
        yield show("\"'" + text)[4:-1]  # beside both kinds of quotes, its own are escaped


def _attempt(call: Callable[..., Any], *args: Any, failed: Any = None) -> Any:
    """Return the result of other people's code, or ``failed`` if it raises."""
    try:
        return call(*args)
    except Exception:  # noqa: BLE001
        return failed


def _text(thing: object) -> Any:
    return _attempt(str, thing, failed="")


def _message(record: logging.LogRecord) -> Any:
    """Return the formatted message, or None if the arguments do not fit: logging reports that."""
    return _attempt(lambda: f"{record.getMessage()}")


def _linked(error: BaseException) -> list[BaseException]:
    """Return an exception with its causes, contexts and members of groups."""
    found: dict[int, BaseException] = {}
    rest: list[BaseException | None] = [error]
    for one in rest:  # grows in the loop
        if one is not None and id(one) not in found:
            found[id(one)] = one
            rest += (one.__cause__, one.__context__, *_members(one))
    return list(found.values())


def _members(error: BaseException) -> Sequence[BaseException]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()

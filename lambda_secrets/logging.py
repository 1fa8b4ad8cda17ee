"""Keeps injected values out of the application's own logs: `RedactSecrets`, a logging filter."""

from __future__ import annotations

import copy
import json
import logging
import operator
import re
import sys
import threading
from binascii import b2a_base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._cache import shared_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import NoReturn, Self

__all__ = ["RedactSecrets"]

MASK = "***"
SHORTEST = 8  # characters; what is shorter may be part of any word
LIMIT = 2_000  # strings; those handed out least recently go first
DEPTH = 16  # containers inside of containers; of those below, the text is looked at

# Before Python 3.12, a filter cannot hand on another record than the one that everybody has.
_REPLACES = sys.version_info >= (3, 12)
_WITHOUT_VALUES = {
    *("name", "levelname", "levelno", "pathname", "filename", "module", "lineno", "funcName"),
    *("created", "msecs", "relativeCreated", "asctime", "thread", "threadName"),
    *("process", "processName", "taskName", "msg", "args", "exc_info"),
}
_SMALLEST = 10 ** (SHORTEST - 1)
# What URLs leave as it is: by `quote`, forms, SQLAlchemy, requests and urllib3, JavaScript.
_SAFE = ("", "/", " ", " +", "!#$%&'()*+,/:;=?@[]~", "!$&'()*+,;=:@/?", "!'()*~")
_percent = re.compile("%[0-9A-F]{2}")
_is_plain = re.compile(r"[\w.~-]+", re.ASCII).fullmatch  # which nothing escapes


class RedactSecrets(logging.Filter):
    """Replaces each value that was injected in this process by ``***`` in log records.

    A value is a string of 8 characters or more, those inside of JSON included, also as JSON, `repr`
    or a URL escape it, and bytes as text, base64 or hex. Values from before a rotation stay
    redacted. 2,000 strings are kept, and none in a SnapStart snapshot.

    Add it to log handlers, not to loggers: a logger's filter sees only what is logged on itself.
    From Python 3.12 on, other log handlers get the record as it was; on 3.11, the redacted one.
    """

    def __init__(self) -> None:
        """Learn of the values that are there, and of those to come."""
        super().__init__()
        self._version = object()
        self._built: tuple[object, _Matcher | None] = (None, None)
        self._strings: dict[str | bytes, None] = {}
        self._learning = threading.RLock()  # a signal's handler may learn, too
        shared_cache.listen(self)

    def filter(self, record: logging.LogRecord) -> Any:
        """Let every record pass, one with a value in it as a redacted copy."""
        matcher = self._matcher()
        changes = _Redaction(matcher).changes(record) if matcher else None
        if not changes:
            return True
        redacted = copy.copy(record) if _REPLACES else record
        vars(redacted).update(changes)
        return redacted if _REPLACES else True

    def redact(self, text: str) -> str:
        """Return a text with ``***`` for each value: for output that passes no log handler."""
        matcher = self._matcher()
        return matcher.redact(text) if matcher else text

    def learn(self, value: Any) -> None:
        """Redact this value too, and the strings in it: what was derived from a secret, say."""
        learned = dict.fromkeys(_strings(value))
        with self._learning:
            rest = [string for string in self._strings if string not in learned]
            # Replaced as a whole: a thread that builds a pattern now has the old ones or the new.
            self._strings = dict.fromkeys([*rest, *learned][-LIMIT:])
            self._version = object()

    def forget(self) -> None:
        """Hold no value any more."""
        self._version, self._strings, self._built = object(), {}, (None, None)

    def __copy__(self) -> Self:
        """Return itself: a copy of a log handler learns of values too."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself, likewise."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would hold the values."""
        raise TypeError("Cannot pickle RedactSecrets: the pickle would hold secret values.")

    def _matcher(self) -> _Matcher | None:
        """Return what finds the values; a thread that sees new ones builds it before it goes on."""
        version, built = self._version, self._built
        if built[0] is not version:
            strings = list(self._strings)
            built = (version, _Matcher(strings) if strings else None)
            self._built = built
        return built[1]


def _strings(value: Any) -> Iterator[str | bytes]:
    """Go through the strings in a value that are long enough, those of JSON in strings included."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            rest += item
        elif isinstance(item, (bytes, bytearray)):
            if len(item) >= SHORTEST:
                yield bytes(item)
            with suppress(UnicodeDecodeError):
                rest.append(item.decode())
            with suppress(ValueError, RecursionError):
                rest.append(json.loads(item))  # which takes UTF-16, too
        elif isinstance(item, int) and _SMALLEST <= abs(item) < 10**100:
            yield str(item)
        elif isinstance(item, str):
            stripped = str(item).strip()
            if len(stripped) >= SHORTEST:
                yield stripped
            if stripped[:1] in {"{", "[", '"'}:
                with suppress(ValueError, RecursionError):
                    rest.append(json.loads(stripped))


def _forms(string: str | bytes) -> set[str]:
    """Return how a log may write a string, by itself or inside of something else."""
    if isinstance(string, bytes):
        encoded = b2a_base64(string, newline=False).decode().rstrip("=")
        urlsafe = encoded.replace("+", "-").replace("/", "_")
        return {encoded, urlsafe, string.hex(), repr(string)[2:-1], repr(b"\"'" + string)[5:-1]}
    forms = {string}
    if _is_plain(string):
        return forms
    for _ in range(2):  # a JSON text inside of a JSON text is escaped twice
        forms |= {escaped for form in forms for escaped in _escaped(form)}
    urls = {quote(string, safe, errors="replace") for safe in _SAFE}
    urls |= {url.replace(" ", "+") for url in urls}
    return forms | urls | {_percent.sub(lambda found: found[0].lower(), url) for url in urls}


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    for show in (repr, ascii, _repr_of_bytes):
        yield show(text)[1:-1]
        yield show("\"'" + text)[4:-1]  # beside quotes of both kinds, its own are escaped


def _repr_of_bytes(text: str) -> str:
    return repr(text.encode(errors="replace"))[1:]


class _Matcher:
    """Finds strings in texts: by one pattern for how they begin, the longest first."""

    def __init__(self, strings: Iterable[str | bytes]) -> None:
        forms = {form for string in strings for form in _forms(string)}
        self._by_start: dict[str, list[str]] = {}
        for form in sorted(forms, key=len, reverse=True):
            self._by_start.setdefault(form[:SHORTEST], []).append(form)
        self._search = re.compile(_any_of(self._by_start)).search
        re.purge()  # it keeps what it compiled: no value is to be in there

    def redact(self, text: str) -> str:
        """Return the text with a mask for each string; strings that overlap share one."""
        found = self._search(text)
        if found is None:
            return text
        parts: list[str] = []
        done = 0
        while found is not None:
            start = found.start()
            for form in self._by_start[found.group()]:
                if text.startswith(form, start):
                    if start >= done:
                        parts += text[done:start], MASK
                    done = max(done, start + len(form))
                    break
            found = self._search(text, start + 1)
        return "".join((*parts, text[done:])) if parts else text


def _any_of(words: Iterable[str]) -> str:
    """Return a pattern of words as a tree: its cost grows with the text, hardly with the words."""
    tree: dict[str, Any] = {}
    for word in words:
        branch = tree
        for character in word:
            branch = branch.setdefault(character, {})

    def pattern(branch: dict[str, Any]) -> str:
        parts = [re.escape(character) + pattern(below) for character, below in branch.items()]
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})" if parts else ""

    return pattern(tree)


class _Redaction:
    """One record's redaction: what has no value in it stays the very object that it is."""

    def __init__(self, matcher: _Matcher) -> None:
        self._redact = matcher.redact

    def changes(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the attributes to set, by name; none where there is no value in the record."""
        known = vars(record)
        changes = self._message(record)
        for name, value in known.items():
            if name not in _WITHOUT_VALUES:
                changes[name] = self._clean(value)
        info = record.exc_info
        if isinstance(info, tuple) and isinstance(info[1], BaseException):
            error = self._error(info[1])
            if error is not info[1]:
                # The text that a formatter has made of it before quotes the original.
                changes |= {"exc_info": (type(error), error, info[2]), "exc_text": None}
        return {name: value for name, value in changes.items() if value is not known.get(name)}

    def _message(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what takes the place of the message and, where they can be kept, the arguments."""
        text = _shown(record.getMessage)  # None: the arguments do not fit, as logging will report
        redacted = text and self._redact(text)
        cleaned = {
            "msg": redacted if record.msg is text else self._clean(record.msg),
            "args": self._clean(record.args),
        }
        if redacted is not text:
            trial = copy.copy(record)
            vars(trial).update(cleaned)
            told = _shown(trial.getMessage)
            # A format may want a number, or bring out a value that no argument has by itself.
            if told is None or self._redact(told) is not told:
                return {"msg": redacted, "args": ()}
        return cleaned

    def _clean(self, value: Any, above: tuple[int, ...] = ()) -> Any:
        """Return the value, or what stands for it: containers keep their form, others are texts."""
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
        shown = [_shown(str, value) or "", _shown(repr, value) or ""]
        redacted = [self._redact(text) for text in shown]
        return value if redacted == shown else redacted[0]

    def _container(self, value: Any, above: tuple[int, ...]) -> Any:
        kind: Any
        if isinstance(value, dict):
            kind, items = dict, [part for item in value.items() for part in item]
        else:
            kind = next(k for k in (list, tuple, set, frozenset) if isinstance(value, k))
            items = [*value]
        cleaned = [self._clean(item, above) for item in items]
        if all(map(operator.is_, cleaned, items)):
            return value
        return kind(zip(cleaned[::2], cleaned[1::2], strict=True) if kind is dict else cleaned)

    def _error(self, error: BaseException, above: tuple[int, ...] = ()) -> BaseException:
        """Return the exception, or a stand-in for it and for all that it is linked to."""
        linked = _linked(error)
        if not any(self._quotes(one, above) for one in linked):
            return error
        stand_ins: dict[int, BaseException] = {}
        for one in reversed(linked):  # the members of a group come after it
            text = self._redact(_shown(str, one) or "")
            stand_ins[id(one)] = _stand_in(one, text, [stand_ins.get(id(m)) for m in _members(one)])
        for one in linked:
            made = stand_ins[id(one)]
            made.__cause__ = stand_ins.get(id(one.__cause__))
            made.__context__ = stand_ins.get(id(one.__context__))
            made.__suppress_context__ = one.__suppress_context__
            notes = getattr(one, "__notes__", ())
            for note in notes if isinstance(notes, (list, tuple)) else ():
                made.add_note(self._redact(_shown(str, note) or ""))
        return stand_ins[id(error)]

    def _quotes(self, error: BaseException, above: tuple[int, ...]) -> bool:
        parts = (_shown(str, error) or "", error.args, vars(error))
        return any(self._clean(part, (*above, id(error))) is not part for part in parts)


def _is_small(value: Any) -> bool:
    """Whether it is a number that is shorter than all that is redacted."""
    return isinstance(value, int) and -_SMALLEST < value < _SMALLEST


def _shown(show: Callable[..., str], *args: Any) -> str | None:
    """Return the text that others' code makes, or None if it raises."""
    try:
        return show(*args)
    except Exception:  # noqa: BLE001
        return None


def _linked(error: BaseException) -> list[BaseException]:
    """Return an exception with its causes and contexts, the members of groups included."""
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
    """Return an exception that looks like another one where logs show it, with that text."""
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

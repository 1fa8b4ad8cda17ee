"""The redacting filter: what it finds, where it looks, and what it leaves as it is."""

from __future__ import annotations

import base64
import copy
import gc
import io
import json
import logging
import pickle
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections import UserDict, UserString
from dataclasses import dataclass, field
from decimal import Decimal
from logging.handlers import QueueHandler, SocketHandler
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from aws_lambda_powertools import Logger
from hypothesis import given, strategies as st

import benchmarks.redaction
import lambda_secrets.logging as redaction
from lambda_secrets import (
    LiveSecrets,
    MemoryBackend,
    Secret,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import forget
from lambda_secrets.logging import RedactSecrets
from lambda_secrets.testing import override_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from awslambdaric.lambda_context import LambdaContext

SECRET = "s3cr3t+v&lue"
PEM = "-----BEGIN KEY-----\nMIIE/o\"IB'AAK\\CAQ\xfc\n-----END KEY-----\n"


@dataclass
class Log:
    """A logger with two handlers: ours with the filter, and another one."""

    redact: RedactSecrets = field(default_factory=RedactSecrets)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("tests.redaction"))
    ours: logging.StreamHandler[io.StringIO] = field(
        default_factory=lambda: logging.StreamHandler(io.StringIO())
    )
    other: logging.StreamHandler[io.StringIO] = field(
        default_factory=lambda: logging.StreamHandler(io.StringIO())
    )
    records: list[logging.LogRecord] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The output of the handler with the filter."""
        return self.ours.stream.getvalue()

    def __post_init__(self) -> None:
        """Add the filter to the handler, and keep the records that the handler gets."""
        self.ours.addFilter(self.redact)
        emit = self.ours.emit

        def kept(record: logging.LogRecord) -> None:
            self.records.append(record)
            emit(record)

        self.ours.emit = kept  # type: ignore[method-assign]  # as a test double


@pytest.fixture
def log() -> Iterator[Log]:
    """Return a logger that redacts."""
    log = Log()
    log.logger.propagate = False
    log.logger.setLevel(1)
    log.logger.addHandler(log.ours)
    log.logger.addHandler(log.other)
    yield log
    log.logger.removeHandler(log.ours)
    log.logger.removeHandler(log.other)


def injected(value: Any, name: str = "prod/db", **options: Any) -> Any:
    """Resolve a value as a secret, and return it."""
    return resolve_secrets({"it": Secret(name, **options)}, backend=MemoryBackend({name: value}))[
        "it"
    ]


def inside_of_forms(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], object], *, times: int = 1
) -> None:
    """Run `call` in the middle of indexing, as a signal handler or a finalizer may run."""
    make = redaction._forms
    left = [None] * times

    def interrupted(content: Any) -> Any:
        if left:
            left.pop()
            call()
        return make(content)

    monkeypatch.setattr(redaction, "_forms", interrupted)


def reachable(found: Any, seen: dict[int, Any] | None = None) -> dict[int, Any]:
    """Walk mappings, sequences, slots and `__dict__`, as error trackers do."""
    seen = {} if seen is None else seen
    if id(found) in seen:
        return seen
    seen[id(found)] = found
    parts = [*getattr(found, "__dict__", {}).values()] if not isinstance(found, type) else []
    parts += [getattr(found, name, None) for name in getattr(found, "__slots__", ())]
    if isinstance(found, dict):
        parts += [*found, *found.values()]
    elif isinstance(found, (list, tuple, set, frozenset)):
        parts += found
    for part in parts:
        reachable(part, seen)
    return seen


def made(**attributes: Any) -> logging.LogRecord:
    """Return a record with these attributes."""
    return logging.makeLogRecord({"name": "made", "levelno": logging.WARNING, **attributes})


# What it finds


@pytest.mark.parametrize(
    ("template", "args"),
    [
        (f"the key is {SECRET}", ()),
        ("the key is %s", (SECRET,)),
        ("the key is %(key)s", ({"key": SECRET},)),
        ("in the middle of%sa word", (SECRET,)),
        ("inside %s", ([{"a": (SECRET, 1)}, {SECRET}],)),
    ],
)
def test_message_and_arguments_show_no_value(log: Log, template: str, args: Any) -> None:
    """A value in the text or in any argument becomes three stars."""
    injected(SECRET)
    log.logger.warning(template, *args)
    assert SECRET not in log.text
    assert "***" in log.text


def repr_beside_quotes(text: str) -> str:
    """Return the `repr` of a text that also contains both kinds of quotes."""
    return repr(f"\"'{text}")[4:]


@pytest.mark.parametrize(
    "show", [str, repr, ascii, json.dumps, quote, quote_plus, repr_beside_quotes, str.encode]
)
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        PEM,
        "(a+)+$ [b]*\\d{2}|^c?",
        "it's a \x1b s3cret",
        "\u043f\u0430\u0440 \U0001f511\xe9\u00df key",
    ],
)
def test_escaped_values_are_found(log: Log, value: str, show: Any) -> None:
    """Values are found in the escaped forms of JSON, Python and URLs."""
    injected(value)
    text = show(value)
    log.logger.warning("<%s>", text)
    inside = str(text).removeprefix("b").strip("\n\"'").removesuffix("\\n").removesuffix("%0A")
    assert log.text.startswith("<")
    assert inside not in log.text
    assert len(log.text) < len("<'***\\n'>\n") + 6


def test_json_inside_of_json_is_found(log: Log) -> None:
    """A value that JSON escapes twice is found, as in the log of an API Gateway response."""
    injected(PEM)
    log.logger.warning(json.dumps({"body": json.dumps({"key": PEM})}))
    log.logger.warning(str({"body": json.dumps({"key": PEM})}))
    assert "CAQ" not in log.text
    assert json.loads(log.text.splitlines()[0]) == {"body": '{"key": "***\\n"}'}


def test_strings_inside_of_json_are_values_too(log: Log) -> None:
    """Each string and number in a JSON secret is found, however deep."""
    document = {
        "a": ["nested-1", {"b": json.dumps({"c": "nested-2"})}],
        "n": 1234567890,
        "ok": True,
    }
    injected(document)
    injected(json.dumps(["nested-0"]), name="prod/list")
    for text in ("nested-0", "nested-1", "nested-2", "1234567890", json.dumps(document)):
        log.logger.warning(text)
    assert log.text == "***\n" * 5


def test_parsed_values_are_known(log: Log) -> None:
    """The value that a path extracts is redacted; the rest of the secret is not."""
    document = {"key": "taken-out-value", "host": "db.internal.example"}
    assert injected(document, path="key") == "taken-out-value"
    log.logger.warning("taken-out-value at db.internal.example")
    assert log.text == "*** at db.internal.example\n"


@pytest.mark.parametrize("value", ["short-7", 1234567, True, None, "  short  "])
def test_short_values_stay(log: Log, value: Any) -> None:
    """Values of fewer than eight characters are not redacted: they may be part of any word."""
    injected(json.dumps(value), transform="json", default="none")
    log.redact.learn(value)
    log.logger.warning("short-7 1234567 True None   short   ")
    assert log.text == "short-7 1234567 True None   short   \n"


def test_eight_characters_are_enough(log: Log) -> None:
    """A value of eight characters, without surrounding white space, is redacted."""
    injected(" 8letters\n")
    log.logger.warning("8letters")
    assert log.text == "***\n"


@pytest.mark.parametrize("value", [b"\x00\xff\xfe/+binary-key\n'", b"binary as text"])
def test_binary_values_are_found(log: Log, value: bytes) -> None:
    """Bytes are found in the notations of Python, base64, URL-safe base64 and hex."""
    injected(value)
    encoded = base64.b64encode(value).decode()
    shown = [repr(value), encoded, encoded.rstrip("="), value.hex(), value, bytearray(value)]
    urlsafe = base64.urlsafe_b64encode(value).decode()
    for text in (*shown, urlsafe):
        log.logger.warning("<%s>", text)
    lines = [line.replace("=", "").replace('"', "'") for line in log.text.splitlines()]
    by_themselves = ["<b'***'>", *["<***>"] * 3, "<b'***'>", "<bytearray(b'***')>", "<***>"]
    assert lines == by_themselves


def test_the_text_in_bytes_is_found(log: Log) -> None:
    """Bytes that hold text are found as this text, in its own escaped forms too."""
    text = "p\xe4ssw\xf6rd"
    injected(text.encode())
    log.logger.warning("%s %s", text, quote(text))
    assert log.text == "*** ***\n"


def test_short_bytes_stay(log: Log) -> None:
    """Fewer than eight bytes are not redacted."""
    injected(b"7 bytes")
    log.logger.warning("7 bytes")
    assert log.text == "7 bytes\n"


def test_the_longest_of_two_values_wins_and_overlaps_leave_no_rest(log: Log) -> None:
    """Values that overlap, contain or repeat each other leave no part of either."""
    injected({"a": "abcdefgh", "b": "abcdefghijkl", "c": "ijklmnop", "d": "hhhhhhhh"})
    for text in (
        "abcdefgh",
        "abcdefghijkl",
        "abcdefghijklmnop",
        "x" + "h" * 20 + "y",
        "abcdefghhhhhhhh",
    ):
        log.logger.warning(text)
    log.logger.warning("abcdefgX abcdefghijkL")
    assert log.text == "***\n***\n***\nx***y\n***\nabcdefgX ***ijkL\n"


@given(st.lists(st.text("ab\\\"'\n", min_size=8, max_size=12), min_size=1, max_size=5), st.data())
def test_no_text_shows_a_value(values: list[str], data: st.DataObject) -> None:
    """Redacted text contains no value, whatever surrounds it; other text is unchanged."""
    redact = RedactSecrets()
    redact.learn(values)
    known = [value.strip() for value in values if len(value.strip()) >= 8]
    between = data.draw(st.lists(st.text("ab\\\"'\n", max_size=5), min_size=len(values) + 1))
    text = "".join(a + b for a, b in zip(between, [*values, *[""] * len(between)], strict=False))
    redacted = redact.redact(text)
    assert not any(value in redacted for value in known)
    assert known or redacted is text


ANY_TEXT = st.text(st.characters() | st.sampled_from("aaaa\"'\\\n /+%=-"))


def every_form(value: str | bytes) -> set[str]:
    """Return the forms in which logs write a value, computed without the library."""
    if isinstance(value, bytes):
        encoded = base64.b64encode(value).decode().rstrip("=")
        return {
            encoded,
            encoded.translate(str.maketrans("+/", "-_")),
            value.hex(),
            f"{value!r}"[2:-1],
        }

    def literals(text: str) -> set[str]:
        encoded = text.encode(errors="replace")
        quoted = {json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text), ascii(text)}
        return {text, repr(encoded)[2:-1], *(form[1:-1] for form in quoted)}

    twice = {form for once in literals(value) for form in literals(once)}
    urls = {quote(value, errors="replace"), quote(value, "", errors="replace")}
    return twice | urls | {quote_plus(value, errors="replace")}


def all_forms(values: Iterable[str | bytes]) -> set[str]:
    """Return every form of these values that the filter knows, as text."""
    made = [form for value in values for form in redaction._forms(value)]
    return {form.decode(errors="surrogatepass") for form in made}


def searched(text: str, forms: set[str]) -> str:
    """Redact a text the slow way: look for every form at every position."""
    redacted, done = "", 0
    for start in range(len(text)):
        lengths = [len(form) for form in forms if text.startswith(form, start)]
        if lengths and start >= done:
            redacted += text[done:start] + "***"
        done = max([done, *(start + length for length in lengths)])
    return redacted + text[done:]


@given(ANY_TEXT | st.binary())
def test_every_usual_form_is_known(value: str | bytes) -> None:
    """The filter knows a value in JSON, nested JSON, Python literals, URLs, base64 and hex."""
    assert every_form(value) <= all_forms([value])


@given(
    st.lists(ANY_TEXT | st.binary(), min_size=1, max_size=4),
    st.lists(ANY_TEXT, max_size=4),
    st.randoms(use_true_random=False),
    st.sampled_from([9, redaction._PREFIX]),
)
def test_every_form_is_redacted_and_all_else_stays(
    values: list[Any], others: list[str], random: Random, prefix: int
) -> None:
    """Redaction equals a plain search for every form, and changes nothing else."""
    redact = RedactSecrets()
    redact.forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_PREFIX", prefix)
        redact.learn(values)
        generations = redact._known(0).generations.values()
        forms = all_forms(string.content for one in generations for string in one.strings.values())
        pieces = [*others, *random.sample(sorted(forms), min(len(forms), 4))]
        random.shuffle(pieces)
        whole = [value if isinstance(value, str) else value.hex() for value in values]
        for text in (*pieces, "".join(pieces), *whole):
            redacted = redact.redact(text)
            assert redacted == searched(text, forms)
            if redacted == text:
                assert redacted is text


@given(ANY_TEXT | st.binary(), st.sampled_from([3, 6, 9, 12]))
def test_forms_of_a_prefix_are_prefixes_of_the_forms(value: str | bytes, length: int) -> None:
    """Every form of a value starts with a form of its prefix, so the prefix finds long values."""
    begins = tuple(redaction._forms(value[:length]))
    assert all(form.startswith(begins) for form in redaction._forms(value))


def strings_in(value: Any) -> list[str]:
    """Return the strings in a record's attributes."""
    return [text for text in reachable(value).values() if isinstance(text, str)]


@given(
    st.lists(ANY_TEXT.filter(lambda text: len(text.strip()) >= 8), min_size=1, max_size=3),
    ANY_TEXT.map(lambda text: text.replace("%", "%%")),
    st.sampled_from(["%s", "%r", "%a", "%20s", "%.9s", "%(a)s"]),
    st.booleans(),
)
def test_no_record_shows_a_value_or_changes_without_one(
    values: list[str], template: str, directive: str, innocent: bool
) -> None:
    """A record's line is the redacted original line, and no attribute contains a value."""
    redact = RedactSecrets()
    redact.forget()
    redact.learn(values)
    forms = all_forms(value.strip() for value in values)
    argument = "none" if innocent else values[0]
    args: Any = ({"a": argument},) if "(" in directive else (argument,)
    record = logging.LogRecord("n", 30, "f", 1, template + directive, args, None)
    vars(record)["extra"] = [argument, 5]
    before = dict(vars(record))
    line = record.getMessage()
    assert redact.filter(record) is True
    assert record.getMessage().split() == searched(line, forms).split()
    texts = strings_in([record.getMessage(), record.msg, record.args, vars(record)["extra"]])
    assert not [form for form in forms if "*" not in form for text in texts if form in text]
    if not any(form in f"{line}{before}" for form in forms):
        assert vars(record) == before


# Which values it knows


def test_filter_made_later_knows_what_is_there(log: Log, context: LambdaContext) -> None:
    """A new filter redacts earlier values: read, transformed and default ones."""

    @inject_secrets(
        {
            "raw": "prod/raw",
            "made": Secret("prod/made", transform=lambda text: text[::-1]),
            "default": Secret("prod/missing", default="the-default-value"),
        },
        backend=MemoryBackend({"prod/raw": "the-raw-value", "prod/made": "eulav-edam-eht"}),
    )
    def handler(_: object, context: Any) -> Any:
        return context.secrets

    assert list(handler({}, context).reveal().values()) == [
        "the-raw-value",
        "the-made-value",
        "the-default-value",
    ]
    for redact in (RedactSecrets(), log.redact):
        text = redact.redact("the-raw-value the-made-value the-default-value eulav-edam-eht")
        assert text == "*** *** *** ***"


def test_values_of_any_target_and_type_are_known(log: Log, context: LambdaContext) -> None:
    """A transform's input and its result are redacted, also while the transform logs."""

    def transform(text: str) -> SimpleNamespace:
        log.logger.warning("transforming %s", text)
        return SimpleNamespace(key=text)

    backend = MemoryBackend({"prod/db": "what-it-is-made-of"})

    @inject_secrets({"it": Secret("prod/db", transform=transform)}, into="kwargs", backend=backend)
    def handler(_: object, __: object, *, it: SimpleNamespace) -> None:
        log.logger.warning("got %s", it)

    handler({}, context)
    assert log.text == "transforming ***\ngot namespace(key='***')\n"


def test_values_from_before_a_rotation_stay_redacted(log: Log) -> None:
    """The old and the new value are redacted, even after the cache is cleared."""
    values = {"prod/db": "the-old-value"}
    declared = {"db": "prod/db"}
    backend = MemoryBackend(values)
    resolve_secrets(declared, backend=backend)
    values["prod/db"] = "the-new-value"
    clear_cache()
    resolve_secrets(declared, backend=backend)
    log.logger.warning("the-old-value the-new-value")
    assert log.text == "*** ***\n"


def test_strings_used_last_stay_at_the_limit(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strings that were handed out least recently are forgotten first."""
    log.redact.forget()  # the defaults of handlers in other tests
    monkeypatch.setattr(redaction, "LIMIT", 3)
    for number in (1, 2, 3, 4, 1, 5, 6):
        log.redact.learn(f"number-{number}")
    log.logger.warning("number-1 number-2 number-3 number-4 number-5 number-6")
    assert log.text == "*** number-2 number-3 *** *** ***\n"


def test_a_filter_goes_with_its_handler() -> None:
    """The cache does not keep a filter alive."""
    redact = RedactSecrets()
    assert redact in shared_cache.listeners
    alive = weakref.ref(redact)
    del redact
    gc.collect()
    assert alive() is None


def test_a_filter_forgets_before_a_snapshot(log: Log) -> None:
    """Before a snapshot the filter forgets every value; it can learn them again."""
    injected(SECRET)
    assert log.redact.redact(SECRET) == "***"
    held = weakref.ref(log.redact._known(0))
    forget(shared_cache)
    gc.collect()
    assert held() is None
    assert log.redact.redact(SECRET) == SECRET
    injected(SECRET)
    assert log.redact.redact(SECRET) == "***"


def test_the_pattern_cache_of_the_application_stays_as_it_is(log: Log) -> None:
    """The filter adds no pattern to the cache of `re`, and evicts none of the application's."""
    re.compile("a pattern of the application")
    before = dict(re._cache)  # type: ignore[attr-defined]  # it is there at run time
    injected(PEM)
    log.logger.warning("the key is %s", PEM)
    assert log.text == "the key is ***\n\n"
    assert re._cache == before  # type: ignore[attr-defined]  # it is there at run time


def test_an_index_finished_after_the_release_is_not_used(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value whose indexing ends after `forget` is not remembered."""
    inside_of_forms(monkeypatch, log.redact.forget)
    log.redact.learn(SECRET)
    assert log.redact.redact(SECRET) == SECRET


def test_unchanged_values_cost_no_work(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh that brings equal values computes no form and parses no JSON again."""
    document = json.dumps({"key": PEM, "of": ["the-user-name"]})
    values = [document, json.loads(document), b"some bytes of it"]
    log.redact.learn(values)
    calls: list[object] = []
    inside_of_forms(monkeypatch, lambda: calls.append(1), times=99)
    monkeypatch.setattr(redaction, "_inside", calls.append)
    log.redact.learn(copy.deepcopy(values))
    for _ in range(1000):
        log.logger.warning("a record")
    assert calls == []


def test_a_new_value_leaves_the_known_ones_alone(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation computes the forms of the new value only."""
    log.redact.learn([f"number-{number}" for number in range(100)])
    calls: list[object] = []
    inside_of_forms(monkeypatch, lambda: calls.append(1), times=99)
    log.redact.learn("number-100")
    assert log.redact.redact("number-99 number-100") == "*** ***"
    assert calls == [1]


def test_a_long_value_is_escaped_once_and_only_if_a_text_begins_like_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All forms of a long value are computed once, when a text first begins like it."""
    sizes: list[int] = []
    make = redaction._forms

    def counted(content: Any) -> Any:
        sizes.append(len(content))
        return make(content)

    monkeypatch.setattr(redaction, "_forms", counted)
    key = PEM * 900
    log.redact.learn(key)
    log.logger.warning("nothing")
    assert sizes == [120]
    for _ in range(3):
        log.logger.warning(json.dumps({"key": key}))
        log.logger.warning(quote(key, safe=""))
    assert sizes == [120, len(key.strip())]
    assert log.text == "nothing\n" + '{"key": "***\\n"}\n***%0A\n' * 3


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that records each string that a text is compared with."""
    strings: list[object] = []
    found = redaction._String.found

    def counted(string: Any, data: bytes, start: int) -> Any:
        strings.append(string)
        return found(string, data, start)

    monkeypatch.setattr(redaction._String, "found", counted)
    return strings


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda number: f"https://svc{number}.internal.example/{number:x}", id="urls"),
        pytest.param(lambda number: f"https://{number:03}.{number:03}/v1/metrics", id="middle"),
        pytest.param(lambda number: f"{{'a b': 'c&d'}} and the number {number}", id="escaped"),
    ],
)
def test_values_that_begin_alike_are_compared_rarely(
    log: Log, compared: list[object], shown: Callable[[int], str]
) -> None:
    """A text that begins like 200 values is compared with few of them, and all are found."""
    log.redact.learn([shown(number) for number in range(100, 300)])
    other = " ".join(map(shown, range(500, 600)))
    assert log.redact.redact(other) is other
    assert len(compared) < 3000  # of 20,000
    compared.clear()
    assert log.redact.redact(" ".join(map(shown, range(100, 300)))) == "*** " * 199 + "***"
    assert len(compared) < 6000  # of 40,000


def test_a_string_that_occurs_often_in_a_value_is_compared_once(
    log: Log, compared: list[object]
) -> None:
    """A document with thousands of equal strings slows no record down."""
    log.redact.learn(["production"] * 1000)
    assert log.redact.redact("in production") == "in ***"
    assert len(compared) == 1


def test_threads_log_while_values_come(log: Log) -> None:
    """A value is redacted in every thread as soon as a handler can have it."""
    seen: list[str] = []

    def work(number: int) -> None:
        for count in range(50):
            value = f"value-{number}-{count:04}"
            injected(value, name=f"prod/{number}/{count}")
            seen.append(log.redact.redact(value))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {"***"}
    assert len(seen) == 200


def test_override_is_known_too(log: Log) -> None:
    """Values from `override_secrets` are redacted like real ones."""
    with override_secrets({"prod/db": SECRET}):
        resolve_secrets({"db": "prod/db"}, backend=MemoryBackend({}))
    log.logger.warning(SECRET)
    assert log.text == "***\n"


# How much it keeps


def test_the_oldest_go_first_at_the_limit_of_characters(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest values are forgotten at the limit; the newest is kept, however long it is."""
    log.redact.forget()
    monkeypatch.setattr(redaction, "CHARACTERS", 30)
    for value in ("the-first-one", "the-second-one", "the-third-one", "x" * 40):
        log.redact.learn(value)
        assert log.redact.redact(f"the-first-one {value}") == "*** ***"
    log.redact.learn("the-last-one")
    text = f"the-first-one the-second-one the-third-one {'x' * 40} the-last-one"
    assert log.redact.redact(text) == "the-first-one the-second-one the-third-one *** ***"


def test_strings_of_a_document_that_is_used_stay(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning JSON again counts as using each string in it, even a forgotten one."""
    document = json.dumps({"a": "in-document", "b": b"deep".hex()})
    log.redact.forget()
    monkeypatch.setattr(redaction, "LIMIT", 4)
    for number in range(9):
        log.redact.learn(document)
        log.redact.learn(f"number-{number}")
    assert log.redact.redact("in-document number-8 number-5") == "*** *** number-5"
    for number in range(9):
        log.redact.learn(f"number-{number}")
    assert log.redact.redact("in-document") == "in-document"
    log.redact.learn(document)
    assert log.redact.redact("in-document") == "***"


def test_a_large_document_beside_a_password_leaves_it_redacted(log: Log) -> None:
    """A password stays redacted when a configuration of thousands of strings is injected."""
    config = [{"name": f"shop number {n}", "url": f"https://shop{n}.example"} for n in range(2000)]
    injected(SECRET)
    injected(json.dumps(config), name="config", transform="json")
    log.logger.warning("the key is %s, the shop is %s", SECRET, config[0])
    assert log.text == "the key is ***, the shop is {'name': '***', 'url': '***'}\n"


@pytest.mark.parametrize(
    ("limit", "kept", "shown"), [("LIMIT", 4, "(4 strings"), ("CHARACTERS", 40, "40 characters)")]
)
def test_one_warning_tells_that_a_string_was_dropped(
    log: Log, monkeypatch: pytest.MonkeyPatch, limit: str, kept: int, shown: str
) -> None:
    """The first drop is announced once, with the next record; no value is in reach then."""
    log.redact.forget()
    monkeypatch.setattr(redaction, limit, kept)
    records: list[logging.LogRecord] = []
    seen: list[object] = []

    class Learning(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)
            frame = sys._getframe(1)
            while frame.f_code.co_filename in {logging.__file__, redaction.__file__}:
                seen.extend(reachable(dict(frame.f_locals)).values())
                assert frame.f_back
                frame = frame.f_back
            thread = threading.Thread(target=log.redact.learn, args=("from-a-thread",))
            thread.start()
            thread.join()
            assert log.redact.redact("from-a-thread") == "***"

    monkeypatch.setattr(logging.getLogger("lambda_secrets"), "handlers", [Learning()])
    log.redact.learn(["number-1", "number-2", "number-3", "number-4"])
    log.logger.warning("not full")
    assert not records
    for number in range(5, 13):
        log.redact.learn(f"number-{number}")
        log.logger.warning("full")
    (record,) = records
    assert log.text == "not full\n" + "full\n" * 8
    assert record.levelname == "WARNING"
    assert shown in record.getMessage()
    assert not [text for text in seen if isinstance(text, (str, bytes)) and "number-" in str(text)]
    assert log.redact.redact("number-1 from-a-thread") == "number-1 ***"


@given(st.lists(st.sampled_from("abcdefgh").map(lambda letter: "secret-0-" + letter * 9)))
def test_as_many_as_the_limit_stay_and_at_most_twice_as_many(learned: list[str]) -> None:
    """The strings used last are redacted, and one that many others have followed is not."""
    redact = RedactSecrets()
    redact.forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "LIMIT", 2)
        for value in learned:
            redact.learn(value)
    latest_first = list(dict.fromkeys(reversed(learned)))
    kept = [value for value in latest_first if redact.redact(value) == "***"]
    assert kept[:2] == latest_first[:2]
    assert len(kept) <= 4
    text = " ".join(learned)
    assert redact.redact(text) == searched(text, set(kept))


# Threads, signals, forks


def test_another_thread_that_indexes_holds_nobody_up(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread learns a value, others can learn it, too, and redact."""
    started, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        assert go_on.wait(60)

    inside_of_forms(monkeypatch, wait)
    log.redact.learn("7 chars")
    thread = threading.Thread(target=log.redact.learn, args=(SECRET,))
    thread.start()
    assert started.wait(60)
    log.redact.learn([SECRET, "another-value"])
    seen = log.redact.redact(f"{SECRET} another-value")
    go_on.set()
    thread.join()
    assert seen == "*** ***"
    assert log.redact.redact(f"{SECRET} another-value") == "*** ***"


def test_a_finalizer_may_log_and_learn_within_the_filter(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that interrupts the filter in its own thread neither hangs nor misses a value."""

    def interrupt() -> None:
        log.redact.learn([SECRET, "another-value"])
        log.logger.warning("%s another-value", SECRET)

    inside_of_forms(monkeypatch, interrupt)
    log.redact.learn(SECRET)
    log.logger.warning("%s another-value", SECRET)
    assert log.text == "*** ***\n*** ***\n"


def test_an_exception_of_a_signal_handler_leaves_nothing_undone(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during indexing propagates, and the value can be learned again."""

    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    inside_of_forms(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        log.redact.learn([SECRET, "another-value"])
    log.redact.learn([SECRET, "another-value"])
    assert log.redact.redact(f"{SECRET} another-value") == "*** ***"


def test_a_value_stays_though_many_others_come_while_it_is_indexed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value whose place is full and dropped before it is indexed there gets another place."""
    log.redact.forget()
    monkeypatch.setattr(redaction, "LIMIT", 3)
    others = [f"number-{number}" for number in range(9)]
    inside_of_forms(monkeypatch, lambda: log.redact.learn(others))
    log.redact.learn(SECRET)
    assert log.redact.redact(f"{SECRET} number-8 number-0") == "*** *** number-0"


def test_two_threads_that_find_the_limit_reached_lose_no_value(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both put their values in the same new place, whichever of them makes it."""
    monkeypatch.setattr(redaction, "LIMIT", 2)
    log.redact.forget()
    log.redact.learn(["number-1", "number-2"])
    make = redaction._Generation

    def meanwhile() -> Any:
        monkeypatch.setattr(redaction, "_Generation", make)
        thread = threading.Thread(target=log.redact.learn, args=("another-value",))
        thread.start()
        thread.join()
        return make()

    monkeypatch.setattr(redaction, "_Generation", meanwhile)
    log.redact.learn(SECRET)
    assert log.redact.redact(f"{SECRET} another-value number-1") == "*** *** ***"


def test_threads_that_pass_the_limit_together_lose_no_value(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value is redacted unless as many others as the limit were learned after it."""
    monkeypatch.setattr(redaction, "LIMIT", 50)
    before = sys.getswitchinterval()
    learned: list[str] = []
    missed: list[str] = []

    def work(number: int) -> None:
        for count in range(300):
            value = f"value-{number}-{count:04}"
            begun = len(learned)
            learned.append(value)
            log.redact.learn(value)
            if log.redact.redact(value) != "***" and len(learned) - begun <= redaction.LIMIT:
                missed.append(value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(learned) == 1200
    assert not missed


HOSTILE_MOMENTS = """
import faulthandler, os, signal, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
from lambda_secrets import clear_cache
from lambda_secrets import logging as redaction
from lambda_secrets.logging import RedactSecrets

redact, make = RedactSecrets(), redaction._forms


def check():
    redact.learn(["the-first-value", "a-later-value"])
    assert redact.redact("the-first-value a-later-value") == "*** ***"
"""

FORK = """
started = threading.Event()

def hang(content):
    started.set()
    threading.Event().wait()

redaction._forms = hang
threading.Thread(target=redact.learn, args=("the-first-value",), daemon=True).start()
started.wait()
child = os.fork()
if not child:
    redaction._forms = make
    check()
    os._exit(0)
_, status = os.waitpid(child, 0)
os._exit(os.waitstatus_to_exitcode(status))
"""

SIGNAL = """
def interrupted(content):
    redaction._forms = make
    signal.raise_signal(signal.SIGTERM)
    return make(content)

def terminate(*_):
    clear_cache()
    check()
    print("handled")

signal.signal(signal.SIGTERM, terminate)
redaction._forms = interrupted
redact.learn("the-first-value")
check()
"""


@pytest.mark.parametrize(("moment", "shown"), [(FORK, ""), (SIGNAL, "handled\n")])
def test_forks_and_signals_within_the_filter_do_not_hang(moment: str, shown: str) -> None:
    """A child forked during indexing, and a signal handler, can learn and redact."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HOSTILE_MOMENTS + moment],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


def test_bytes_and_text_with_one_hash_are_kept_apart() -> None:
    """Bytes and equal text can both be learned under `-bb`, where comparing them is an error."""
    code = (
        "from lambda_secrets.logging import RedactSecrets; redact = RedactSecrets();"
        "redact.learn([b'some bytes', 'some bytes', b'some bytes']);"
        "print(redact.redact('some bytes ' + b'some bytes'.hex()))"
    )
    done = subprocess.run(
        [sys.executable, "-bb", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "*** ***\n"


# Where it looks, and what stays


def test_extra_attributes_show_no_value(log: Log) -> None:
    """Attributes from `extra` are redacted: text and containers keep their type."""
    injected(SECRET)
    extra = {
        "text": f"a {SECRET}",
        "table": {"key": [SECRET, 1], SECRET: None},
        "tuple": (SECRET, 2.5),
        "set": {SECRET},
        "frozen": frozenset({SECRET}),
        "other": MappingProxyType({"key": SECRET}),
        "object": SimpleNamespace(key=SECRET),
    }
    log.logger.warning("message", extra=extra)
    (record,) = log.records
    seen = {name: vars(record)[name] for name in extra}
    assert seen == {
        "text": "a ***",
        "table": {"key": ["***", 1], "***": None},
        "tuple": ("***", 2.5),
        "set": {"***"},
        "frozen": frozenset({"***"}),
        "other": "{'key': '***'}",
        "object": "namespace(key='***')",
    }
    assert type(seen["text"]) is str
    assert extra["text"] == f"a {SECRET}"


def test_what_has_no_value_stays_itself(log: Log) -> None:
    """A record without a value is unchanged; in any other, only the value is replaced."""
    injected(SECRET)
    ring: list[Any] = [1, 2.5, None, True, ("x", b"y")]
    ring.append(ring)
    same = {"a": ring, "b": SimpleNamespace(key="other")}
    log.logger.warning("%s %d", same, 5, extra={"same": same})
    log.logger.warning("%s %d %s", same, 5, SECRET, extra={"same": same})
    first, second = log.records
    assert log.redact.filter(first) is True
    for record in (first, second):
        assert isinstance(record.args, tuple)
        assert record.args[0] is same
        assert vars(record)["same"] is same
    assert second.args == (same, 5, "***")
    assert second.msg == "%s %d %s"


def test_stack_info_shows_no_value(log: Log) -> None:
    """The stack that a record carries is redacted as its message is."""
    injected(SECRET)
    record = log.logger.makeRecord("n", 30, "f", 1, "m", (), None, sinfo=f"Stack:\n {SECRET}")
    log.logger.handle(record)
    assert log.text == "m\nStack:\n ***\n"


def test_exception_text_of_an_earlier_handler_shows_no_value(log: Log) -> None:
    """A text that another formatter has left on the record is redacted."""
    injected(SECRET)
    record = made(msg="m", exc_text=f"Error: {SECRET}", message=SECRET)
    log.logger.handle(record)
    assert log.text == "m\nError: ***\n"
    assert vars(log.records[0])["message"] == "m"


def test_exception_shows_no_value(log: Log) -> None:
    """Message, cause, context, notes and members of a group are redacted, at any indentation."""
    injected(PEM)

    def fail() -> NoReturn:
        first = ValueError(PEM)
        first.add_note(f"note {PEM}")
        second = KeyError(PEM)
        second.__cause__ = first
        try:
            raise second
        except KeyError as error:
            members = [error, OSError(5, PEM), ExceptionGroup("g", [TypeError()])]
            raise ExceptionGroup(f"group {PEM}", members) from RuntimeError(PEM)

    try:
        fail()
    except ExceptionGroup:
        log.logger.exception("failed")
    assert "CAQ" not in log.text
    assert "KEY" not in log.text
    for line in (
        "ValueError: ***",
        "note ***",
        "KeyError: '***\\n'",
        "group ***",
        "in fail",
        "TypeError",
    ):
        assert line in log.text
    assert "the direct cause of" in log.text
    assert "(3 sub-exceptions)" in log.text


def test_exception_that_was_formatted_before_shows_no_value(log: Log) -> None:
    """Exception text that an earlier handler has formatted is not reused."""
    injected(PEM)
    log.logger.removeHandler(log.ours)
    log.logger.addHandler(log.ours)
    log.logger.warning("failed", exc_info=ExceptionGroup("group", [ValueError(PEM)]))
    assert "CAQ" in log.other.stream.getvalue()
    assert "CAQ" not in log.text


def test_context_that_was_suppressed_stays_so(log: Log) -> None:
    """A stand-in hides its context if `raise … from None` did, and shows it otherwise."""
    injected(SECRET)
    error = ValueError(SECRET)
    error.__context__ = KeyError("the context")
    error.__suppress_context__ = True
    log.logger.warning("failed", exc_info=error)
    assert log.text == "failed\nValueError: ***\n"
    error.__suppress_context__ = False
    log.logger.warning("failed", exc_info=error)
    assert "KeyError: 'the context'" in log.text


def test_exception_without_a_value_stays_itself(log: Log) -> None:
    """A record without a value keeps the exception that was raised."""
    injected(SECRET)
    raised = ValueError("no value")
    log.logger.warning("failed: %s", raised, exc_info=raised)
    (record,) = log.records
    assert record.exc_info is not None
    assert record.exc_info[1] is raised
    assert record.args == (raised,)


def test_stand_in_looks_like_the_exception(log: Log) -> None:
    """A stand-in keeps the type name, module, traceback, cause and context."""
    injected(SECRET)
    try:
        try:
            raise OSError("first")  # noqa: TRY301
        except OSError as error:
            raise json.JSONDecodeError("at", SECRET, 3) from error
    except ValueError as error:
        log.logger.warning("%s", error, exc_info=True)
        raised = error
    (record,) = log.records
    assert record.exc_info is not None
    kind, made, traceback = record.exc_info
    assert kind is not None
    assert made is not None
    assert made is not raised
    assert kind is type(made)
    assert (kind.__name__, kind.__qualname__, kind.__module__) == (
        *("JSONDecodeError", "JSONDecodeError", "json.decoder"),
    )
    assert str(made) == str(raised)
    assert traceback is raised.__traceback__ is made.__traceback__
    assert type(made.__cause__).__name__ == type(made.__context__).__name__ == "OSError"
    assert made.__suppress_context__
    assert "doc" not in vars(made)
    assert record.args != (raised,)


def test_cyclic_exceptions_and_containers_end(log: Log) -> None:
    """Containers and exceptions that refer to themselves are walked once."""
    injected(SECRET)
    cyclic: list[Any] = [SECRET]
    cyclic.append(cyclic)
    log.redact.learn(cyclic)
    member = ValueError(SECRET)
    group = ExceptionGroup("group", [member])
    member.__context__ = group
    group.__context__ = member
    member.failures = {"it": group}  # type: ignore[attr-defined]  # a plain error has none
    log.logger.warning("%s", cyclic, exc_info=group)
    assert log.text.startswith("['***', ")
    assert SECRET not in log.text
    assert "ValueError: ***" in log.text


def test_wide_cycles_end_soon(log: Log) -> None:
    """A container that refers to itself many times is redacted without being walked each time."""
    injected(SECRET)
    wide: list[Any] = [SECRET]
    wide.extend([wide] * 20)
    log.logger.warning("wide", extra={"wide": wide})
    assert SECRET not in str(vars(log.records[0])["wide"])


def test_group_that_is_found_after_its_member_shows_no_value(log: Log) -> None:
    """A group whose member was already visited loses that member, but is redacted."""
    injected(SECRET)
    member = ValueError(SECRET)
    error = RuntimeError("outer")
    error.__cause__ = member
    error.__context__ = ExceptionGroup("group", [member])
    log.logger.warning("failed", exc_info=error)
    assert SECRET not in log.text
    assert "ValueError: ***" in log.text


def test_deep_containers_are_looked_at_as_text(log: Log) -> None:
    """Below sixteen levels of containers, a value is found in the text of the rest."""
    injected(SECRET)
    deep: Any = SECRET
    for _ in range(30):
        deep = [deep]
    log.logger.warning("deep", extra={"deep": deep})
    assert SECRET not in str(vars(log.records[0])["deep"])
    assert "***" in str(vars(log.records[0])["deep"])
    for _ in range(5000):  # too deep for any `repr`
        deep = [deep]
    log.logger.warning("deeper", extra={"deep": deep})
    assert log.text == "deep\ndeeper\n"


class Unshowable:
    """An object whose `str` and `repr` raise."""

    __notes__ = None

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no text")

    __repr__ = __str__


class UnshowableError(Exception):
    """An exception whose `str` raises, and whose notes are not a list."""

    __notes__ = 5  # type: ignore[assignment]  # wrong on purpose

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no text")


def test_a_record_keeps_its_exc_info_if_only_a_repr_in_it_holds_a_value(log: Log) -> None:
    """An exception is logged even if the repr of its traceback or its class holds a value."""
    log.redact.learn(["traceback", "ValueError"])
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("a")
    log.logger.error("failed", exc_info=caught.value)
    (record,) = log.records
    assert record.exc_info == (ValueError, caught.value, caught.value.__traceback__)
    assert "ValueError: invalid literal" in log.text


def test_what_cannot_be_shown_harms_nobody(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter never raises, even if a format or an object cannot be shown."""
    injected(SECRET)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.logger.warning("%d", SECRET)
    log.logger.warning("%s", Unshowable(), extra={"it": Unshowable(), "key": SECRET})
    error = UnshowableError(SECRET)
    log.logger.warning("failed", exc_info=error)
    log.logger.handle(made(msg="odd", exc_info=(None, None, None)))
    log.logger.handle(made(msg=SECRET, exc_info=True))
    assert log.records[0].args == ("***",)
    assert vars(log.records[1])["key"] == "***"
    assert SECRET not in log.text
    assert "odd\n" in log.text


def test_format_that_brings_out_a_value_is_replaced(log: Log) -> None:
    """If only the formatted text contains a value, it replaces the message and arguments."""
    injected(SECRET)
    log.logger.warning("%s%s 100%%", SECRET[:5], SECRET[5:])
    (record,) = log.records
    assert (record.msg, record.args) == ("*** 100%", ())
    assert log.text == "*** 100%\n"


class BraceRecord(logging.LogRecord):
    """A record that formats its arguments with braces."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the text."""
        return str(self.msg).format(*(self.args or ()))


class SlotRecord(logging.LogRecord):
    """A record that keeps its message in a slot of its own."""

    __slots__ = ("own",)
    own: Any

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the text, which may be of any class."""
        return self.own  # type: ignore[no-any-return]  # whatever it is


ACCOUNT = 123456789012


@pytest.mark.parametrize(
    ("template", "args", "line"),
    [
        ("trace id %x", (ACCOUNT,), "trace id 1cbe991a14"),
        ("trace id %#o", (ACCOUNT,), "trace id 0o1627646215024"),
        ("%d", (ACCOUNT,), "***"),
        ("%i and %-15d|", (5, ACCOUNT), "5 and ***   |"),
        ("%.2f", (ACCOUNT,), "***.00"),
        ("%e", (ACCOUNT,), "1.234568e+11"),
        ("%c%c", (65, "b"), "Ab"),
        ("%s %c", (SECRET, 65), "*** A"),
        ("%15s|%.3s", (SECRET, SECRET), "   ***|s3c"),
        ("%s %x", (SECRET, ACCOUNT), "*** 1cbe991a14"),
        ("%(n)x %(k)s", ({"n": ACCOUNT, "k": SECRET},), "1cbe991a14 ***"),
        ("%(k)s", (UserDict({"k": SECRET}),), "***"),
        ("%s", (Decimal(ACCOUNT),), "***"),
        ("%r", (SECRET,), "'***'"),
        ("%s", ({"n": ACCOUNT},), "{'n': ***}"),
        (ACCOUNT, (), "***"),
        (f"100 % of {SECRET}", (), "100 % of ***"),
        ("100%% of %s", (SECRET,), "100% of ***"),
    ],
)
def test_no_format_loses_a_record(log: Log, template: Any, args: Any, line: str) -> None:
    """Each line keeps its format; only values become stars."""
    log.redact.learn([SECRET, ACCOUNT])
    log.logger.warning(template, *args)
    assert log.text == line + "\n"


@pytest.mark.parametrize(
    ("template", "args", "line"),
    [
        ("{:x}", (ACCOUNT,), "1cbe991a14"),
        ("{:>14,d}|{}", (ACCOUNT, SECRET), "123,456,789,012|***"),
        ("{} {{}}", (SECRET,), "*** {}"),
        ("{{{}", (ACCOUNT,), "{***"),
        ("{0.real:e}", (ACCOUNT,), "1.234568e+11"),
    ],
)
def test_records_with_formats_of_their_own_are_not_lost(
    log: Log, template: str, args: Any, line: str
) -> None:
    """A record class that formats with braces keeps its line, even with literal braces."""
    log.redact.learn([SECRET, ACCOUNT])
    record = BraceRecord("n", 30, "f", 1, template, args, None)
    log.logger.handle(record)
    assert log.text == line + "\n"
    passed = log.records[0]
    assert type(passed) is BraceRecord
    assert SECRET not in repr(vars(passed))
    assert pickle.loads(pickle.dumps(passed)).getMessage() == line  # noqa: S301 - our own


@pytest.mark.parametrize(("own", "line"), [(f"own {SECRET}", "own ***"), (UserString("x"), "x")])
def test_a_record_with_a_message_of_its_own_is_changed(log: Log, own: Any, line: str) -> None:
    """A record whose class keeps the message elsewhere is redacted, too."""
    log.redact.learn(SECRET)
    record = SlotRecord("n", 30, "f", 1, "template", (), None)
    record.own = own
    vars(record)["extra"] = SECRET
    assert log.redact.filter(record) is True
    assert logging.Formatter("%(extra)s %(message)s").format(record) == f"*** {line}"


@pytest.mark.parametrize(
    ("style", "template", "line"),
    [
        ("%", "%(pin)10s|%(user)s", "       ***|user ***"),
        ("{", "{pin:>5}|{user}|{table[pin]}", "  ***|user ***|***"),
        ("{", "{point.x} {point.y:d}", "*** 5"),
        ("$", "$pin ${message}", "*** m"),
    ],
)
def test_no_formatter_loses_a_record(log: Log, style: Any, template: str, line: str) -> None:
    """A number or an object becomes text, and a named tuple keeps its names."""

    class User:
        def __str__(self) -> str:
            return f"user {ACCOUNT}"

    class Point(NamedTuple):
        x: str
        y: int

    log.redact.learn([SECRET, ACCOUNT])
    log.ours.setFormatter(logging.Formatter(template, style=style))
    table = {"pin": ACCOUNT}
    extra = {"pin": ACCOUNT, "user": User(), "table": table, "point": Point(SECRET, 5)}
    log.logger.warning("m", extra=extra)
    assert log.text == line + "\n"


def test_every_encoder_takes_what_stands_for_an_object(log: Log) -> None:
    """A number or an object becomes a plain string, which strict encoders accept."""
    log.redact.learn(ACCOUNT)
    log.logger.warning("m", extra={"more": {"account": ACCOUNT}})
    more = vars(log.records[0])["more"]
    assert type(more["account"]) is str
    assert msgspec.json.encode(more) == b'{"account":"***"}'


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError(f"no route for {SECRET}"),
        json.JSONDecodeError("no route", SECRET, 3),
        ExceptionGroup(f"no route for {SECRET}", [ValueError(SECRET)]),
    ],
    ids=type,
)
def test_records_with_an_exception_can_be_sent_to_other_processes(
    log: Log, error: Exception
) -> None:
    """An exception in `extra` crosses a socket or queue as a plain one, with its text and notes."""
    log.redact.learn(SECRET)
    error.add_note(f"a note on {SECRET}")
    log.logger.warning("m", extra={"error": error, "more": {"errors": [error]}})
    sent = SocketHandler("localhost", 0).makePickle(log.records[0])
    queued = QueueHandler(queue.SimpleQueue()).prepare(log.records[0])
    got = pickle.loads(sent[4:]), vars(pickle.loads(pickle.dumps(queued)))  # noqa: S301 - our own
    for attributes in got:
        for seen in (attributes["error"], *attributes["more"]["errors"]):
            assert type(seen) is Exception
            assert str(seen) == str(error).replace(SECRET, "***")
            assert seen.__notes__ == ["a note on ***"]


def fail(*_: object, **__: object) -> NoReturn:
    """Raise, with a value in the message."""
    raise RuntimeError(SECRET)


HIDING = dict.fromkeys(("values", "items", "__iter__", "__str__", "__repr__"), fail)
Hostile: Any = type("Hostile", (dict,), {**HIDING, "__class__": property(fail)})
HostileText: Any = type("HostileText", (str,), dict.fromkeys(("strip", "encode", "__str__"), fail))
HostileError: Any = type("HostileError", (Exception,), {"__cause__": property(fail)})


def test_code_of_others_is_not_run_while_learning(log: Log) -> None:
    """Learning finds the contents of values without calling their methods."""
    log.redact.learn([Hostile(a=HostileText(f" {SECRET} ")), object(), NotImplemented])
    assert log.redact.redact(f"a {SECRET}") == "a ***"
    text = HostileText(f"a {SECRET}")
    assert log.redact.redact(text) == "a ***"


def test_hostile_attributes_and_exceptions_lose_no_record(log: Log) -> None:
    """Attributes and exceptions that cannot be inspected are withheld; the rest is kept."""
    log.redact.learn(SECRET)
    log.logger.warning("m", extra={"hostile": Hostile(), "text": SECRET})
    error = HostileError(SECRET)
    log.ours.handle(made(msg="failed", exc_info=(HostileError, error, None)))  # others could not
    first, second = log.records
    assert (vars(first)["hostile"], vars(first)["text"]) == ("***", "***")
    assert (second.exc_info, second.exc_text) == (None, "***")
    assert log.text == "m\nfailed\n***\n"


def test_numbers_are_redacted(log: Log) -> None:
    """An injected number of 8 digits is redacted in the text and as an attribute."""
    assert injected({"pin": 12345678}, path="pin") == 12345678
    log.logger.warning("pin %d", 12345678, extra={"pin": 12345678, "other": 87654321})
    (record,) = log.records
    assert log.text == "pin ***\n"
    assert (vars(record)["pin"], vars(record)["other"]) == ("***", 87654321)


def test_no_tool_finds_values_in_the_filter_or_its_frames(log: Log) -> None:
    """No value is reachable from the filter's fields, nor from its frames while it calls others."""
    log.redact.learn({"key": SECRET, "more": [PEM, b"some bytes"]})
    assert log.redact.redact(SECRET) == "***"
    seen = list(reachable(log.redact).values())

    class Interrupting:
        def __str__(self) -> str:
            frame = sys._getframe(1)
            while frame.f_code.co_filename == redaction.__file__:
                frames.append(frame.f_code.co_name)
                seen.extend(reachable(dict(frame.f_locals)).values())
                assert frame.f_back
                frame = frame.f_back
            raise KeyboardInterrupt

    frames: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        log.logger.warning("m", extra={"it": Interrupting()})
    assert frames[-1] == "filter"
    texts = [text for text in seen if isinstance(text, (str, bytes))]
    assert not [t for t in texts if SECRET in str(t) or "MIIE" in str(t) or "some b" in str(t)]


def test_later_handlers_get_the_redacted_record(log: Log) -> None:
    """A filter redacts the record itself, which later handlers get, too."""
    injected(SECRET)
    log.logger.removeHandler(log.other)
    log.logger.addHandler(log.other)
    log.logger.warning("key %s of %s", SECRET, 5, extra={"more": SECRET})
    (record,) = log.records
    assert {"msg": "key %s of %s", "args": ("***", 5), "more": "***"}.items() <= vars(
        record
    ).items()
    assert log.text == log.other.stream.getvalue() == "key *** of 5\n"


def test_records_pass_untouched_while_there_is_no_value(log: Log) -> None:
    """A filter that knows no value does not inspect records."""
    log.redact.forget()  # the defaults of handlers in other tests
    assert log.redact.filter(made(msg=Unshowable())) is True
    assert log.redact.redact("text") == "text"


def test_filter_itself_shows_and_pickles_nothing(log: Log) -> None:
    """The filter's `repr` shows no value, pickling is refused, and a copy is the filter itself."""
    injected(SECRET)
    assert log.redact.redact(SECRET) == "***"
    assert SECRET not in repr(log.redact)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(log.redact)
    assert copy.copy(log.redact) is log.redact
    assert copy.deepcopy(log.redact) is log.redact


def test_learned_strings_are_redacted(log: Log) -> None:
    """Strings derived from a secret are redacted once `learn` was called with them."""
    log.redact.learn({"access_token": "eyJhbGciOi.derived"})
    log.logger.warning("Bearer eyJhbGciOi.derived")
    assert log.text == "Bearer ***\n"


def test_unbounded_values_are_taken_as_they_are(log: Log) -> None:
    """Broken or deeply nested JSON and huge numbers do no harm."""
    log.redact.learn(["[" * 100_000, '{"broken json', 10**5000, "x" * 100_000])
    log.logger.warning('{"broken json and %s', "x" * 100_000)
    assert log.text == "*** and ***\n"


def test_benchmark_of_the_documentation_runs() -> None:
    """The benchmark behind the figures of `docs/redaction.md` runs."""
    figures = benchmarks.redaction.measure(rounds=1, calls=1)
    assert [row[0] for row in figures.table[1:]] == [
        "1 values known",
        "20 values known",
        "200 values known",
        "2,000 values known",
        "a line of Powertools' JSON",
    ]
    assert len(figures.checks) == 3


# With Powertools


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """Return what Powertools' logger has printed."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_powertools_logger_prints_no_value(
    context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """Powertools' JSON shows stars in message, arguments, keys, event and exception."""
    logger = Logger(service="tests-redaction")
    redact = RedactSecrets()
    for handler in logger.handlers:
        handler.addFilter(redact)
    backend = MemoryBackend({"prod/db": {"user": "app", "password": PEM}})

    @logger.inject_lambda_context(log_event=True)
    @inject_secrets({"db": "prod/db#@"}, backend=backend)
    def handle(event: Any, context: Any) -> None:
        db = context.secrets.db
        logger.info("login %s", db["password"])
        logger.info({"login": db})
        logger.info(json.dumps(db), extra={"db": db}, token=db["password"])
        try:
            raise ValueError(db["password"])  # noqa: TRY301
        except ValueError:
            logger.exception("failed")

    injected(PEM)
    handle({"echo": PEM}, context)
    output = capsys.readouterr().out
    assert "CAQ" not in output
    event, formatted, table, extra, failed = (json.loads(line) for line in output.splitlines())
    stars = {"user": "app", "password": "***\n"}
    assert event["message"] == {"echo": "***\n"}
    assert formatted["message"] == "login ***\n"
    assert table["message"] == {"login": stars}
    assert (extra["message"], extra["db"], extra["token"]) == (stars, stars, "***\n")
    assert failed["exception_name"] == "ValueError"
    assert failed["stack_trace"]["value"] == "***\n"
    assert failed["exception"].endswith("ValueError: ***\n")


def test_powertools_persistent_keys_need_the_serializer(capsys: pytest.CaptureFixture[str]) -> None:
    """`append_keys` bypasses every filter, but a serializer that redacts covers it."""
    redact = RedactSecrets()
    injected(SECRET)
    logger = Logger(
        service="tests-redaction-keys", json_serializer=lambda log: redact.redact(json.dumps(log))
    )
    logger.append_keys(key=SECRET)
    logger.info("working")
    assert lines_of(capsys)[0]["key"] == "***"


def test_a_default_that_a_retry_gets_is_redacted(log: Log) -> None:
    """A default is redacted even if only the retry gets it, because the secret has gone."""
    values: dict[str, Any] = {"prod/db": {"key": "an-old-value-9"}}

    @inject_secrets(
        {"key": Secret("prod/db", "key", default=f"default {SECRET}")},
        backend=MemoryBackend(values),
        refresh_on=ConnectionError,
    )
    def handler(event: Any, context: Any) -> None:
        if context.secrets.key.startswith("an-old"):
            values["prod/db"] = {}
            raise ConnectionError
        log.logger.warning("using %s", context.secrets.key)

    handler({}, SimpleNamespace())
    assert log.text == "using ***\n"


def test_a_filter_that_is_made_later_knows_the_defaults_of_handlers() -> None:
    """A new filter knows the default of a handler that has not run yet."""
    declared = {"it": Secret("prod/absent", default=f"default {SECRET}")}

    @inject_secrets(declared, backend=MemoryBackend({}))
    def handler(event: Any, context: Any) -> None: ...

    assert redaction.RedactSecrets().redact(f"a default {SECRET}") == "a ***"
    assert handler.secrets.declarations


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_of_any_encoding_is_looked_into(log: Log, encoding: str) -> None:
    """JSON in bytes is searched for values, whatever its encoding."""
    injected(json.dumps({"deep": [SECRET]}).encode(encoding))
    assert log.redact.redact(f"it is {SECRET}") == "it is ***"


@pytest.mark.parametrize(
    "escaped",
    [
        "Kq7%5Ew!Zt%7B9m)L@x4",
        "Kq7%5ew!Zt%7b9m)L@x4",
        "Kq7%5Ew%21Zt%7B9m%29L%40x4",
        "Kq7%5Ew!Zt%7B9m)L%40x4",
        "Kq7%5ew%21Zt%7b9m%29L%40x4",
    ],
)
def test_urls_of_other_libraries_are_redacted(log: Log, escaped: str) -> None:
    """URLs are redacted whichever characters a library escapes, in upper or lower case."""
    log.redact.learn("Kq7^w!Zt{9m)L@x4")
    assert log.redact.redact(f"/v1?key={escaped}&n=1") == "/v1?key=***&n=1"


def test_a_value_is_known_before_another_thread_gets_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that one thread logs while another is still learning it is redacted."""
    learn = RedactSecrets.learn

    def log_it() -> None:
        log.logger.info("got %s", read().it)

    def learn_late(redact: RedactSecrets, value: Any) -> None:
        monkeypatch.setattr(RedactSecrets, "learn", learn)
        thread = threading.Thread(target=log_it)
        thread.start()
        thread.join()
        redact.learn(value)

    def read() -> Any:
        return resolve_secrets({"it": "db"}, backend=backend)

    backend = MemoryBackend({"db": SECRET})
    monkeypatch.setattr(RedactSecrets, "learn", learn_late)
    assert read().it == SECRET
    assert log.text == "got ***\n"


def test_a_value_that_is_read_again_counts_as_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an application learns does not push out an unchanged value that is read each time."""
    monkeypatch.setattr(redaction, "LIMIT", 10)
    redact = RedactSecrets()
    live = LiveSecrets(
        {"password": "db#password"},
        backend=MemoryBackend({"db": {"password": "hunter2-hunter2"}}),
        ttl=0,
    )
    for number in range(30):
        redact.learn(f"token-{number:08}")
        assert redact.redact(f"with {live.password}") == "with ***"

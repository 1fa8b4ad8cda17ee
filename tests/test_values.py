"""Secrets: a read-only view that shows no value and hands out fresh copies."""

from __future__ import annotations

import collections
import copy
import inspect
import json
import logging
import pickle
import pprint
import string
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import MemoryBackend, Secret, Secrets, SecretValueError, resolve_secrets
from lambda_secrets._values import Wrapped, held, opaque, origins

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "hunter2-canary"


def made(values: dict[str, Any]) -> Secrets:
    """Return a view of these values."""
    return Secrets({name: opaque(value) for name, value in values.items()})


@pytest.fixture
def secrets() -> Secrets:
    """Return a view with a text, a dict and a list in it."""
    return made({"key": CANARY, "db": {"user": CANARY, "ports": [1]}, "hosts": [CANARY]})


def test_values_are_items_and_attributes(secrets: Secrets) -> None:
    """Each declared name is a key and an attribute."""
    assert secrets["key"] == secrets.key == CANARY
    assert secrets["db"]["ports"] == secrets.db["ports"] == [1]


def test_it_is_neither_a_mapping_nor_iterable(secrets: Secrets) -> None:
    """Code that iterates over mappings or sequences fails on a view (cases 29 and 49)."""
    untyped: Any = secrets
    assert not isinstance(untyped, (Mapping, Iterable))
    for attempt in (dict, list, tuple, set, iter, lambda it: {**it}, lambda it: [*it], max):
        with pytest.raises(TypeError) as raised:
            attempt(untyped)
        assert CANARY not in str(raised.value)


def test_names_can_be_counted_and_looked_for(secrets: Secrets) -> None:
    """`len` and `in` work on the names alone."""
    assert len(secrets) == 3
    assert "key" in secrets
    assert "other" not in secrets
    assert 5 not in secrets
    assert not made({})


def test_views_compare_by_names_and_values(secrets: Secrets) -> None:
    """Two views are equal when both names and values are; a dict is not a view."""
    assert secrets == made(secrets.reveal())
    assert secrets != made({**secrets.reveal(), "key": "other"})
    assert secrets != made({"key": CANARY})
    assert secrets != secrets.reveal()


def test_reveal_is_the_way_to_all_values(secrets: Secrets) -> None:
    """`reveal` returns a plain dict of fresh copies in the order of declaration."""
    revealed = secrets.reveal()
    assert type(revealed) is dict
    assert list(revealed) == ["key", "db", "hosts"]
    revealed["db"]["ports"].append(2)
    assert secrets.db["ports"] == [1]


def test_names_of_mapping_methods_are_names_of_secrets() -> None:
    """Case 11: `keys`, `items`, `values` and `get` are ordinary names of secrets."""
    secrets = made({"keys": 1, "items": 2, "values": 3, "get": 4})
    assert (secrets.keys, secrets.items, secrets.values, secrets.get) == (1, 2, 3, 4)


def test_a_missing_name_tells_the_declared_ones(secrets: Secrets) -> None:
    """The error for an unknown name lists the declared ones."""
    message = "No secret is declared as 'keu'. Declared: key, db, hosts."
    with pytest.raises(KeyError) as missing_key:
        secrets["keu"]
    with pytest.raises(AttributeError) as missing_attribute:
        _ = secrets.keu
    assert missing_key.value.args == (message,)
    assert str(missing_attribute.value) == message
    with pytest.raises(KeyError, match=r"Declared: none\."):
        made({})["key"]


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        format,
        lambda secrets: f"{secrets}",
        lambda secrets: f"{secrets!r:>100}",
        lambda secrets: f"{secrets:>100}",
        lambda secrets: "%s %r" % (secrets, secrets),  # noqa: UP031 - what is under test
        lambda secrets: string.Template("$it").substitute(it=secrets),
        lambda secrets: repr({"event": [secrets]}),
        pprint.pformat,
        ascii,
        lambda secrets: logging.makeLogRecord({"msg": "%s", "args": (secrets,)}).getMessage(),
        lambda secrets: json.dumps({"secrets": secrets}, default=str),
        lambda secrets: json.dumps({"secrets": secrets}, default=repr),
    ],
)
def test_names_show_and_values_never(secrets: Secrets, shown: Any) -> None:
    """However a view is turned into text, the text shows names but no values."""
    text = shown(secrets)
    assert CANARY not in text
    assert "key" in text
    assert "hosts" in text


def test_an_empty_view_says_so() -> None:
    """The `repr` of an empty view says that there are no secrets."""
    assert repr(made({})) == "<Secrets: none>"


def test_a_format_specification_applies_to_what_is_shown() -> None:
    """A view can be padded and aligned like any text."""
    assert f"{made({'a': 1}):.>15}" == "...<Secrets: a>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_does_not_pickle(secrets: Secrets, protocol: int) -> None:
    """A view refuses to be pickled, as a pickle would hold the values."""
    with pytest.raises(TypeError, match="Cannot pickle Secrets"):
        pickle.dumps({"event": secrets}, protocol)


def test_json_refuses_it(secrets: Secrets) -> None:
    """An event with a view in it cannot be dumped as JSON by accident."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps({"secrets": secrets})
    with pytest.raises(TypeError, match="__dict__"):
        json.dumps({"secrets": secrets}, default=vars)


def test_a_copy_is_itself(secrets: Secrets) -> None:
    """A copy of a view, deep or not, is the view itself."""
    assert copy.copy(secrets) is secrets
    assert copy.deepcopy({"event": secrets})["event"] is secrets


def test_a_name_with_an_underscore_is_no_attribute() -> None:
    """A name with a leading underscore can be read by key, but not as an attribute."""
    secrets = made({"_key": CANARY})
    assert secrets["_key"] == CANARY
    with pytest.raises(AttributeError, match="_key"):
        _ = secrets._key


def test_it_is_read_only(secrets: Secrets) -> None:
    """Nothing can be set or deleted, by attribute or by key."""
    with pytest.raises(AttributeError, match="Cannot change 'key': Secrets is read-only"):
        secrets.key = "other"
    with pytest.raises(AttributeError, match="Cannot change 'new'"):
        secrets.new = "other"
    with pytest.raises(AttributeError, match="Cannot change 'key': Secrets is read-only"):
        del secrets.key
    with pytest.raises(AttributeError) as raised:
        secrets.key = CANARY
    frame = raised.value.__traceback__.tb_next.tb_frame  # type: ignore[union-attr]  # ours
    assert CANARY not in repr(frame.f_locals)
    untyped: Any = secrets
    with pytest.raises(TypeError):
        untyped["key"] = "other"
    with pytest.raises(TypeError):
        del untyped["key"]
    with pytest.raises(TypeError, match="unhashable"):
        hash(untyped)


def test_it_keeps_a_mapping_of_its_own() -> None:
    """Later changes to the original mapping do not reach the view."""
    values = {"a": opaque(1)}
    secrets = Secrets(values)
    values["b"] = opaque(2)
    assert secrets.reveal() == {"a": 1}


def test_completion_offers_no_names(secrets: Secrets) -> None:
    """`dir` lists no secret, so debuggers and `inspect.getmembers` find no value."""
    assert not {"key", "db", "hosts"} & set(dir(secrets))
    assert CANARY not in repr(inspect.getmembers(secrets))


class Ports(list[int]):
    """A list of a user-defined class."""


@pytest.mark.parametrize(
    "value",
    [
        {"inner": [1]},
        [[1]],
        ([1],),
        collections.OrderedDict(inner=[1]),
        collections.defaultdict(list, {0: [1]}),
        Ports([1]),
        {1},
        bytearray(b"1"),
    ],
)
def test_each_access_is_a_fresh_copy(value: Any) -> None:
    """Trap: a mutated dict poisoned the cache for every later invocation."""
    before = copy.deepcopy(value)
    secrets = made({"it": value})
    accesses: list[Callable[[], Any]] = [
        lambda: secrets["it"],
        lambda: secrets.it,
        lambda: secrets.reveal()["it"],
    ]
    for access in accesses:
        got = access()
        assert got == before
        assert type(got) is type(before)
        spoil(got)
        assert secrets["it"] == secrets.it == secrets.reveal()["it"] == before
    assert value == before


def spoil(container: Any) -> None:
    """Change a container, and the lists in it."""
    items = list(container.values()) if isinstance(container, dict) else list(container)
    for item in items:
        if isinstance(item, list):
            item.append("spoiled")
    if not isinstance(container, tuple):
        container.clear()


def test_what_does_not_change_is_handed_out_as_it_is() -> None:
    """Text, bytes, numbers and objects of a transform's own type are not copied."""
    own = object()
    values = {"text": "a", "bytes": b"a", "number": 1.5, "none": None, "flag": False, "own": own}
    secrets = made(values)
    assert all(secrets[name] is value for name, value in values.items())


def test_a_converted_value_is_copied_whatever_its_type() -> None:
    """A converted value is copied on each access, unless it is shared."""
    inner = collections.UserList([1])
    secrets = made({"model": Wrapped(inner, shared=False), "pool": Wrapped(inner, shared=True)})
    secrets.model.append(2)
    assert secrets.model == [1]
    assert secrets.pool is inner


def test_a_container_that_cannot_be_copied_is_handed_out_as_it_is() -> None:
    """A tuple that holds a lock is returned uncopied, rather than raising an error."""
    value = (threading.Lock(),)
    assert made({"it": value}).it is value


class Interrupted(list[int]):
    """A list whose copying is interrupted, as by a signal."""

    def __deepcopy__(self, memo: object) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("access", [lambda secrets: secrets.it, Secrets.reveal])
def test_an_interrupted_copy_leaves_no_value_in_a_traceback(
    access: Callable[[Secrets], Any],
) -> None:
    """An exception that interrupts a copy propagates without the frames that copy."""
    secrets = made({"first": CANARY, "it": {"key": CANARY, "more": Interrupted([1])}})
    with pytest.raises(KeyboardInterrupt) as caught:
        access(secrets)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    assert not any(CANARY in repr(frame.f_locals) for frame in frames)


def nested(depth: int) -> str:
    """Return JSON of lists within lists."""
    return "[" * depth + json.dumps(CANARY) + "]" * depth


def deepest() -> str:
    """Return the deepest JSON that this Python reads, up to almost 10,000 levels."""
    low, high = 1, 9_999
    while low < high - 1:
        middle = (low + high) // 2
        try:
            json.loads(nested(middle))
            low = middle
        except RecursionError:
            high = middle
    return nested(low)


@pytest.mark.parametrize("declared", ["it#@", Secret("it", transform="json"), Secret("it", "[0]")])
def test_what_json_reads_is_served_however_deep(declared: Any) -> None:
    """Case 30: a value nested deeper than Python recurses is read, copied and handed out."""
    text = deepest()
    resolved = resolve_secrets({"it": declared}, backend=MemoryBackend({"it": text}))
    first, second = resolved["it"], resolved["it"]
    while isinstance(first, list):
        assert isinstance(second, list)
        assert first is not second
        first, second = first[0], second[0]
    assert first == second == CANARY


class Incomparable:
    """An object whose comparison fails."""

    __hash__ = None  # type: ignore[assignment]  # it compares

    def __eq__(self, other: object) -> bool:
        raise OSError("failed")


def test_a_failing_comparison_leaves_no_value_in_a_traceback() -> None:
    """An exception raised by a comparison propagates without the frames that compare."""
    one, other = (made({"it": [CANARY, Incomparable()]}) for _ in range(2))
    with pytest.raises(OSError, match="failed") as caught:
        _ = one == other
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    assert not any(CANARY in repr(frame.f_locals) for frame in frames)


def test_json_too_deep_to_read_is_an_error_without_it() -> None:
    """JSON too deep for `json.loads` is a `SecretValueError` that does not show the value."""
    backend = MemoryBackend({"it": nested(200_000)})
    with pytest.raises(
        SecretValueError, match="it is not JSON, or it is nested too deeply"
    ) as caught:
        resolve_secrets({"it": "it#@"}, backend=backend)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [CANARY, {"a": CANARY}, [CANARY]], ids=["str", "dict", "list"])
def test_what_is_opaque_is_neither_seen_nor_pickled(value: Any, protocol: int) -> None:
    """Case 28: an opaque value is returned when called, and shown in no other way."""
    hidden: Any = opaque(value)
    assert hidden(0) is value
    assert CANARY not in repr(hidden)
    assert not hasattr(hidden, "__dict__")
    assert not isinstance(hidden, Iterable)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(hidden, protocol)


def test_the_package_sees_what_is_held_and_where_it_came_from() -> None:
    """`held` returns the values without copies, and `origins` returns the cache's entries."""
    value = [1]
    secrets = Secrets({"a": opaque(value)}, {"a": "entry"})
    assert held(secrets)["a"](0) is value
    assert origins(secrets) == {"a": "entry"}
    assert origins(made({"a": value})) == {}

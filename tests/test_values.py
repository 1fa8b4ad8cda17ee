"""Secrets: a read-only view whose values never show, and whose copies are fresh."""

from __future__ import annotations

import collections
import copy
import json
import logging
import pickle
import pprint
import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import Secrets
from lambda_secrets._values import Converted, Sealed, copies, held, origins

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "hunter2-canary"


@pytest.fixture
def secrets() -> Secrets:
    """Return a view with a text, a dict and a list in it."""
    return Secrets({"key": CANARY, "db": {"user": CANARY, "ports": [1]}, "hosts": [CANARY]})


def test_values_are_items_and_attributes(secrets: Secrets) -> None:
    """Each declared name is a key and an attribute."""
    assert secrets["key"] == secrets.key == CANARY
    assert secrets["db"]["ports"] == secrets.db["ports"] == [1]


def test_it_is_a_mapping(secrets: Secrets) -> None:
    """It has what every mapping has, in the order of declaration."""
    assert isinstance(secrets, Mapping)
    assert not isinstance(secrets, dict)
    assert list(secrets) == ["key", "db", "hosts"]
    assert len(secrets) == 3
    assert "key" in secrets
    assert "other" not in secrets
    assert dict(secrets) == {**secrets} == dict(secrets.items())
    assert secrets.get("other", 5) == 5
    assert secrets == dict(secrets)
    assert secrets != {}
    assert not Secrets({})


def test_a_name_that_no_attribute_can_have_is_a_key() -> None:
    """A declared name need not be an identifier, and may be a method's name."""
    secrets = Secrets({"my-key": 1, "items": 2})
    assert secrets["my-key"] == 1
    assert secrets["items"] == 2
    assert dict(secrets.items()) == {"my-key": 1, "items": 2}


def test_a_missing_name_tells_the_declared_ones(secrets: Secrets) -> None:
    """Whoever misspells a name reads which ones there are, and no value."""
    message = "No secret is declared as 'keu'. Declared: key, db, hosts."
    with pytest.raises(KeyError) as missing_key:
        secrets["keu"]
    with pytest.raises(AttributeError) as missing_attribute:
        _ = secrets.keu
    assert missing_key.value.args == (message,)
    assert str(missing_attribute.value) == message
    with pytest.raises(KeyError, match=r"Declared: none\."):
        Secrets({})["key"]


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
        lambda secrets: f"{secrets.keys()} {secrets.values()} {secrets.items()}",
    ],
)
def test_names_show_and_values_never(secrets: Secrets, shown: Any) -> None:
    """However a view is turned into text, the text has its names alone."""
    text = shown(secrets)
    assert CANARY not in text
    assert "key" in text
    assert "hosts" in text


def test_an_empty_view_says_so() -> None:
    """A view of nothing shows that."""
    assert repr(Secrets({})) == "<Secrets: none>"


def test_a_format_specification_applies_to_what_is_shown() -> None:
    """A view can be aligned in a table as any text."""
    assert f"{Secrets({'a': 1}):.>15}" == "...<Secrets: a>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_does_not_pickle(secrets: Secrets, protocol: int) -> None:
    """A pickle would hold the values."""
    with pytest.raises(TypeError, match="Cannot pickle Secrets"):
        pickle.dumps({"event": secrets}, protocol)


def test_json_refuses_it(secrets: Secrets) -> None:
    """An event with a view in it cannot be dumped as JSON by accident."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps({"secrets": secrets})
    with pytest.raises(TypeError, match="__dict__"):
        json.dumps({"secrets": secrets}, default=vars)


def test_a_copy_is_itself(secrets: Secrets) -> None:
    """What never changes is its own copy, deep or not."""
    assert copy.copy(secrets) is secrets
    assert copy.deepcopy({"event": secrets})["event"] is secrets


def test_it_is_read_only(secrets: Secrets) -> None:
    """Nothing is set or deleted, by attribute or by key."""
    with pytest.raises(AttributeError, match="Cannot set 'key': Secrets are read-only"):
        secrets.key = "other"
    with pytest.raises(AttributeError, match="Cannot set 'new'"):
        secrets.new = "other"
    with pytest.raises(AttributeError, match="Cannot delete 'key': Secrets are read-only"):
        del secrets.key
    untyped: Any = secrets
    with pytest.raises(TypeError):
        untyped["key"] = "other"
    with pytest.raises(TypeError):
        del untyped["key"]
    with pytest.raises(TypeError, match="unhashable"):
        hash(untyped)


def test_it_keeps_a_mapping_of_its_own() -> None:
    """What happens to the mapping that it was made of does not reach it."""
    values = {"a": 1}
    secrets = Secrets(values)
    values["b"] = 2
    assert list(secrets) == ["a"]


def test_completion_offers_the_names(secrets: Secrets) -> None:
    """`dir` shows the declared names beside the methods."""
    assert {"key", "db", "hosts", "items"} <= set(dir(secrets))


class Ports(list[int]):
    """A list of somebody's own."""


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
    secrets = Secrets({"it": value})
    accesses: list[Callable[[], Any]] = [
        lambda: secrets["it"],
        lambda: secrets.it,
        lambda: copies(secrets)["it"],
    ]
    for access in accesses:
        got = access()
        assert got == before
        assert type(got) is type(before)
        spoil(got)
        assert secrets["it"] == secrets.it == dict(secrets)["it"] == before
    assert value == before


def spoil(container: Any) -> None:
    """Change a container, and what is in it."""
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
    secrets = Secrets(values)
    assert all(secrets[name] is value for name, value in values.items())


def test_a_value_built_for_an_annotation_is_copied_whatever_its_type() -> None:
    """A model that the package built itself is fresh on each access, too."""
    inner = collections.UserList([1])
    secrets = Secrets({"model": Converted(inner)})
    secrets.model.append(2)
    assert secrets.model == [1]
    assert Converted(inner) == Converted(collections.UserList([1]))
    assert Converted(inner) != Converted(collections.UserList([2]))
    assert Converted(inner) != inner


def test_what_is_sealed_is_neither_seen_nor_pickled() -> None:
    """A crash report that goes through mappings, or by Sentry's own protocol, finds names alone."""
    secrets = Secrets({"key": CANARY})
    assert secrets.__sentry_repr__() == "<Secrets: key>"
    for sealed in (Sealed(secrets), Converted([CANARY])):
        assert CANARY not in repr(sealed)
        assert not isinstance(sealed, Mapping)
        with pytest.raises(TypeError, match="Cannot pickle what is sealed"):
            pickle.dumps(sealed)


def test_the_package_sees_what_is_held_and_where_it_came_from() -> None:
    """Comparing and merging need no copies, and refreshing needs the origins."""
    values = {"a": [1]}
    secrets = Secrets(values, {"a": "entry"})
    assert held(secrets)["a"] is values["a"]
    assert origins(secrets) == {"a": "entry"}
    assert origins(Secrets(values)) == {}

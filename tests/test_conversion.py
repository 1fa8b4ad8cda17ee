"""How an annotated type converts a value, and the error for a value that does not fit."""

from __future__ import annotations

import enum
import json
import math
import pickle
import subprocess
import sys
import threading
import traceback
import typing
from collections.abc import Generator, Iterable  # noqa: TC003 - evaluated in annotations
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import annotated_types
import attrs
import msgspec
import pydantic
import pytest
import typing_extensions
from hypothesis import given, strategies as st

from lambda_secrets import (
    AppConfig,
    DeclarationError,
    Parameter,
    ParameterTree,
    Secret,
    SecretValueError,
    inject_secrets,
)
from lambda_secrets._signature import declared_in
from lambda_secrets._values import Wrapped, opaque
from lambda_secrets.testing import override_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets._secret import Declaration
    from lambda_secrets.elsewhere import Imaginary  # type: ignore[import-not-found]  # there is none

CANARY = "hunter2-canary"


@dataclass
class Login:
    """A plain dataclass."""

    user: str
    port: int = 5432
    hosts: list[str] = field(default_factory=list)


@dataclass
class Cluster:
    """A dataclass with others inside."""

    writer: Login
    readers: dict[str, Login] = field(default_factory=dict)


@dataclass
class Checked:
    """A dataclass whose own check quotes the value it refuses."""

    token: str

    def __post_init__(self) -> None:
        """Refuse everything."""
        if self.token.startswith("other"):
            raise LookupError(f"{self.token} - at `$.{self.token}`")
        raise ValueError(f"{self.token} - at `$.{self.token}`")


class LoginDict(TypedDict):
    """A TypedDict of the standard library."""

    user: str
    port: NotRequired[int]


class ExtendedDict(typing_extensions.TypedDict):
    """A TypedDict of the kind that pydantic requires before Python 3.12."""

    user: str


class LoginTuple(NamedTuple):
    """A NamedTuple."""

    user: str
    port: int


class LoginStruct(msgspec.Struct, forbid_unknown_fields=True):
    """A Struct that forbids unknown fields."""

    user: str
    port: int = 5432


class LimitedStruct(msgspec.Struct):
    """A Struct with a default that JSON cannot express."""

    user: str
    limit: Any = object


@attrs.define
class LoginAttrs:
    """An attrs class."""

    user: str
    port: int


class Tagged(msgspec.Struct, tag="login"):
    """A Struct with a tag."""

    user: str


class LoginModel(pydantic.BaseModel):
    """A pydantic model."""

    user: str
    port: int = 5432
    ports: dict[str, int] = {}


class Token(pydantic.RootModel[pydantic.SecretStr]):
    """A model whose root takes text."""


class Verbatim(pydantic.RootModel[Annotated[str, pydantic.BeforeValidator(str)]]):
    """Text of any kind."""


class Later(pydantic.RootModel["Text"]):
    """A model whose root names a type that follows it."""


Text: TypeAlias = str


class StrictModel(pydantic.BaseModel, strict=True, extra="forbid"):
    """A strict model that forbids unknown fields."""

    port: int
    since: date | None = None


class QuotingModel(pydantic.BaseModel):
    """A model whose checks quote the values they refuse."""

    token: str
    custom: str = ""

    @pydantic.field_validator("token")
    @classmethod
    def refuse(cls, token: str) -> str:
        """Refuse everything."""
        if token.startswith("other"):
            raise LookupError(token)
        raise ValueError(f"{token} is wrong")

    @pydantic.field_validator("custom")
    @classmethod
    def refuse_custom(cls, custom: str) -> str:
        """Refuse everything, with a message and a code of its own."""
        raise pydantic_core_error(custom)


def pydantic_core_error(value: Any) -> Exception:
    """Return pydantic's own custom error with the value in its code and its message."""
    from pydantic_core import PydanticCustomError

    return PydanticCustomError(value, value)


@pydantic.dataclasses.dataclass
class PydanticLogin:
    """A pydantic dataclass, which converts text to an int."""

    user: str
    port: int


@dataclass
class Mixed:
    """A dataclass with a model inside, which msgspec cannot build."""

    model: LoginModel


class Opaque:
    """A class that nothing can build from JSON."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text


@dataclass
class Holder:
    """A dataclass with an `Opaque` field."""

    inner: Opaque


@dataclass
class Dangling:
    """A dataclass with a field of a type that does not exist at run time."""

    inner: Imaginary


@dataclass
class Streaming:
    """A dataclass with a field that pydantic checks only while it is iterated."""

    hosts: Iterable[str]


class Loose(msgspec.Struct):
    """A Struct with a field of any type, and one of its own type."""

    anything: object = None
    next: Loose | None = None


class Speaks(Protocol):
    """A protocol that cannot be checked at run time."""

    def speak(self) -> str:
        """Say something."""
        ...


class Stage(enum.StrEnum):
    """An enum of texts."""

    LIVE = "live"
    TEST = "test"


class Level(enum.IntEnum):
    """An enum of numbers."""

    LOW = 1


class Mode(enum.Enum):
    """An enum of a text and a number."""

    AUTO = "auto"
    OFF = 0


class Touchy(enum.Enum):
    """An enum that raises an error with the value, where others refuse it."""

    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> Touchy:
        raise LookupError(value)


ApiKey = NewType("ApiKey", str)
Port = NewType("Port", int)
Alias = typing_extensions.TypeAliasType("Alias", dict[str, int])
T = TypeVar("T")
U = TypeVar("U")
Maybe = typing_extensions.TypeAliasType("Maybe", T | None, type_params=(T,))
Swapped = typing_extensions.TypeAliasType("Swapped", dict[U, T], type_params=(T, U))
Same = typing_extensions.TypeAliasType("Same", T, type_params=(T,))
Twice = typing_extensions.TypeAliasType("Twice", Maybe[dict[str, T]], type_params=(T,))
Positive = typing_extensions.TypeAliasType("Positive", Annotated[int, [], pydantic.Field(gt=0)])
Numbers = NewType("Numbers", Alias)
Named = NewType("Named", LoginModel)
Json = typing_extensions.TypeAliasType(  # type: ignore[misc]  # unknown to mypy
    "Json",
    dict[str, "Json"] | list["Json"] | str | None,  # type: ignore[misc]  # as above
)

SECRET = Secret("prod/secret")
LIST = Parameter("/app/list")
TREE = ParameterTree("/app/tree/")


def circular(text: str) -> list[Any]:
    """Return a value that JSON cannot represent."""
    ring: list[Any] = [text]
    ring.append(ring)
    return ring


def received(wanted: Any, value: Any, declaration: Declaration = SECRET) -> Any:
    """Return the value that a handler gets for a parameter annotated with this type."""

    def handler(event: Any, context: Any, *, it: Any) -> Any:
        return it

    handler.__annotations__ = {"it": Annotated[wanted, declaration]}
    with override_secrets({str(declaration.source): value}):
        return inject_secrets(handler)({}, None)


def reason(wanted: Any, value: Any, declaration: Declaration = SECRET) -> str:
    """Return why a value does not fit, after checking that the error does not leak it."""
    with pytest.raises(SecretValueError) as caught:
        received(wanted, value, declaration)
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in "".join(traceback.TracebackException.from_exception(error).format())
        assert CANARY not in repr(error.__dict__)
        assert CANARY.encode() not in pickle.dumps(error)
        error = error.__cause__ or error.__context__
    message = str(caught.value)
    start = f"Cannot resolve 'it' ({declaration}) through memory: "
    end = ". Correct the secret or its declaration."
    assert message.startswith(start), message
    assert message.endswith(end), message
    return message.removeprefix(start).removesuffix(end)


# Values that fit


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (str, "text", "text"),
        (str, '{"a": 1}', '{"a": 1}'),
        (str, "", ""),
        (bytes, b"\x00\xff", b"\x00\xff"),
        (Any, "5", "5"),
        (object, b"5", b"5"),
        (ApiKey, "key", "key"),
        (str | None, "null", "null"),
        (str | bytes, b"x", b"x"),
        (dict, {"a": [1]}, {"a": [1]}),
        (dict[str, Any], {"a": [1]}, {"a": [1]}),
        (dict[Any, int], {"a": 1}, {"a": 1}),
        (dict[str, dict[str, list[int]]], {"a": {"b": [1, 2]}}, {"a": {"b": [1, 2]}}),
        (dict, b'{"a": 1}', {"a": 1}),
        (typing.Dict, {"a": 1}, {"a": 1}),  # noqa: UP006 - some write it so
        (typing.List, "[1]", [1]),  # noqa: UP006 - some write it so
        (list, "[1, null]", [1, None]),
        (list[int | None], "[1, null]", [1, None]),
        (int, "5", 5),
        (int, "-0", 0),
        (Port, "5432", 5432),
        (float, "5", 5.0),
        (float, "1.5e3", 1500.0),
        (bool, "true", True),
        (bool, "false", False),
        (None, "null", None),
        (Optional[int], "null", None),  # noqa: UP045 - some write it so
        (Union[int, None, bool], "true", True),  # noqa: UP007 - some write it so
        (float | int, "5", 5),
        (float | int, "5.5", 5.5),
        (int | str, "5", 5),
        (int | str, "five", "five"),
        (int | str, '"5"', '"5"'),
        (int | str, "[5]", "[5]"),
        (Literal["live", "test"], "live", "live"),
        (Literal[1, 2], "2", 2),
        (Literal["auto", 1], "auto", "auto"),
        (Literal["auto", 1], "1", 1),
        (Literal[True], "true", True),
        (Stage, "live", Stage.LIVE),
        (Level, "1", Level.LOW),
        (Mode, "auto", Mode.AUTO),
        (Mode, "0", Mode.OFF),
        (dict[str, Stage], {"a": "test"}, {"a": Stage.TEST}),
        (Alias, {"a": 1}, {"a": 1}),
        (Numbers, {"a": 1}, {"a": 1}),
        (Maybe[int], "5", 5),
        (Maybe[str], "null", "null"),
        (Swapped[int, str], {"a": 1}, {"a": 1}),
        (Same[int], "5", 5),
        (Twice[int], "null", None),
        (Maybe[Maybe[int]], "5", 5),
        (Annotated[str, "a remark"], "text", "text"),
    ],
)
def test_builtin_types_fit(wanted: Any, value: Any, expected: Any) -> None:
    """Text stays text where the type wants text; for other types it is parsed as JSON."""
    got = received(wanted, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (Login, {"user": "u"}, Login("u")),
        (Login, {"user": "u", "port": 1, "hosts": ["h"], "other": 1}, Login("u", 1, ["h"])),
        (
            Cluster,
            {"writer": {"user": "w"}, "readers": {"r": {"user": "r"}}},
            Cluster(Login("w"), {"r": Login("r")}),
        ),
        (LoginDict, {"user": "u"}, {"user": "u"}),
        (LoginTuple, '["u", 1]', LoginTuple("u", 1)),
        (LoginStruct, {"user": "u"}, LoginStruct("u")),
        (LimitedStruct, {"user": "u"}, LimitedStruct("u")),
        (Tagged, {"type": "login", "user": "u"}, Tagged("u")),
        (Loose, {"anything": {"a": 1}, "next": {}}, Loose({"a": 1}, Loose())),
        (list[Login], '[{"user": "u"}]', [Login("u")]),
        (Login | None, "null", None),
        (Login | None, {"user": "u"}, Login("u")),
        (Login | str, {"user": "u"}, Login("u")),
        (Login | str, "not JSON", "not JSON"),
        (tuple[str, int], '["u", 1]', ("u", 1)),
        (set[int], "[1, 1]", {1}),
        (dict[int, Login], {"1": {"user": "u"}}, {1: Login("u")}),
        (dict[int, int], {"1": 1}, {1: 1}),
        (typing.Mapping[str, int], {"a": 1}, {"a": 1}),
        (LoginAttrs, {"user": "u", "port": 1}, LoginAttrs("u", 1)),
        (bytearray, b"b", bytearray(b"b")),
        (UUID, "12345678123456781234567812345678", UUID("12345678123456781234567812345678")),
        (date, "2024-02-29", date(2024, 2, 29)),
        (Decimal, "1.10", Decimal("1.10")),
        (Annotated[str, msgspec.Meta(min_length=3)], "long", "long"),
        (Annotated[int, msgspec.Meta(ge=1)], "1", 1),
        (Annotated[Alias, msgspec.Meta(min_length=1)], {"a": 1}, {"a": 1}),
        (Maybe[Login], {"user": "u"}, Login("u")),
    ],
)
def test_msgspec_builds(wanted: Any, value: Any, expected: Any) -> None:
    """Dataclasses, TypedDicts, Structs and types made of them are built from JSON."""
    got = received(wanted, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (LoginModel, {"user": "u", "port": "1"}, LoginModel(user="u", port=1)),
        (list[LoginModel], '[{"user": "u"}]', [LoginModel(user="u")]),
        (LoginModel | None, "null", None),
        (LoginModel | Login, {"user": "u"}, LoginModel(user="u")),
        (
            StrictModel,
            {"port": 1, "since": "2024-02-29"},
            StrictModel(port=1, since=date(2024, 2, 29)),
        ),
        (PydanticLogin, {"user": "u", "port": "1"}, PydanticLogin("u", 1)),
        (Mixed, {"model": {"user": "u"}}, Mixed(LoginModel(user="u"))),
        (pydantic.SecretStr, "text", pydantic.SecretStr("text")),
        (pydantic.SecretStr, "pässword", pydantic.SecretStr("pässword")),  # pydantic 2.7.0
        (pydantic.SecretBytes, b"\xff", pydantic.SecretBytes(b"\xff")),
        (pydantic.Secret[int], "5", pydantic.Secret(5)),
        (pydantic.Secret[str] | None, "5", pydantic.Secret("5")),
        (pydantic.Secret[dict[str, str]], {"a": "b"}, pydantic.Secret({"a": "b"})),
        (Annotated[int, pydantic.Field(gt=0)], "1", 1),
        (Positive, "1", 1),
        (T, "1", "1"),
        (Annotated[str, annotated_types.MinLen(3)], "long", "long"),
        (pydantic.RootModel[list[int]], "[1]", pydantic.RootModel[list[int]]([1])),
        (pydantic.RootModel[Any], "[1]", pydantic.RootModel[Any]([1])),
        (pydantic.RootModel[Any], '"text"', pydantic.RootModel[Any]("text")),
        (pydantic.Secret[Decimal], f"{10**17}.1", pydantic.Secret(Decimal(f"{10**17}.1"))),
        (Verbatim, "12e34567", Verbatim("12e34567")),
        (pydantic.RootModel, "[1]", pydantic.RootModel([1])),
        (Token, "12-text", Token(pydantic.SecretStr("12-text"))),
        (Token | None, "12", Token(pydantic.SecretStr("12"))),
        (Json, {"a": ["b", {"c": None}]}, {"a": ["b", {"c": None}]}),
    ],
)
def test_pydantic_builds(wanted: Any, value: Any, expected: Any) -> None:
    """Pydantic validates its models by their own rules, and builds what msgspec cannot."""
    got = received(wanted, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("wanted", "declaration", "value", "expected"),
    [
        (list[str], LIST, ["a", "1"], ["a", "1"]),
        (list, LIST, ["a"], ["a"]),
        (list[int], LIST, ["1", "2"], [1, 2]),
        (set[str], LIST, ["a", "a"], {"a"}),
        (tuple[int, ...], LIST, ["1", "2"], (1, 2)),
        (list[Literal["a", 1]], LIST, ["a", "1"], ["a", 1]),
        (list[str], LIST, '["a"]', ["a"]),
        (int, LIST, "5", 5),
        (dict, TREE, {"a": "1"}, {"a": "1"}),
        (dict[str, str], TREE, {"a": "1"}, {"a": "1"}),
        (dict[str, int], TREE, {"a": "1"}, {"a": 1}),
        (dict[str, int | str], TREE, {"a": "1", "b": "b"}, {"a": 1, "b": "b"}),
        (dict[str, Any], TREE, {"a": "1"}, {"a": "1"}),
        (dict[str, list[str]], TREE, {"a": '["x"]', "b": ["y"]}, {"a": ["x"], "b": ["y"]}),
        (LoginDict, TREE, {"user": "5", "port": "5"}, {"user": "5", "port": 5}),
        (Login, TREE, {"user": "u", "port": "5"}, Login("u", 5)),
        (LoginModel, TREE, {"user": "u", "port": "5"}, LoginModel(user="u", port=5)),
        (dict[str, int], AppConfig("a", "e", "p"), '{"a": 1}', {"a": 1}),
    ],
)
def test_texts_of_lists_and_trees_are_read_as_what_is_wanted(
    wanted: Any, declaration: Declaration, value: Any, expected: Any
) -> None:
    """Parameter Store has only text, so texts in a StringList or a tree may be numbers."""
    assert received(wanted, value, declaration) == expected


def test_a_root_may_name_a_type_that_follows_it() -> None:
    """The type of such a root tells whether the model takes text, as any other root's does."""
    assert received(Later, "12").root == "12"  # no other test may complete the model


def test_a_quoted_text_is_validated_once() -> None:
    """A validator of a type that takes text sees the original text, and only once."""
    seen: list[object] = []

    def note(value: object) -> object:
        seen.append(value)
        return value

    wanted = Annotated[str | int, pydantic.AfterValidator(note)]
    assert received(wanted, '"quoted"') == '"quoted"'
    assert seen == ['"quoted"']


@pytest.mark.parametrize(
    ("wanted", "declaration", "value", "expected"),
    [
        (int, Secret("s", "db.port"), {"db": {"port": 5}}, 5),
        (object, Secret("s", "on"), {"on": True}, True),
        (str, Secret("s", "db.port"), {"db": {"port": "5"}}, "5"),
        (Login, Secret("s", "db"), {"db": {"user": "u"}}, Login("u")),
        (list[Login], Secret("s", "[*]"), '[{"user": "u"}]', [Login("u")]),
        (Login, Secret("s", transform="json"), {"user": "u"}, Login("u")),
        (bytes, Secret("s", transform="binary"), "/w==", b"\xff"),
        (int, Secret("s", transform=len), "four", 4),
        (Login, Secret("s", transform=lambda text: {"user": text}), "u", Login("u")),
        (Login, Secret("s", transform=Login), "u", Login("u")),
        (date, Secret("s", transform=date.fromisoformat), "2024-02-29", date(2024, 2, 29)),
        (
            StrictModel,
            Secret("s", transform=lambda p: StrictModel(port=int(p))),
            "1",
            StrictModel(port=1),
        ),
        (
            LoginModel,
            Secret("s", transform=lambda user: {"user": user, "at": date(2024, 2, 29)}),
            "u",
            LoginModel(user="u"),
        ),
    ],
)
def test_path_and_transform_come_first(
    wanted: Any, declaration: Declaration, value: Any, expected: Any
) -> None:
    """The type is built from the result of path and transform; nothing is parsed twice."""
    assert received(wanted, value, declaration) == expected


def test_instance_made_by_a_transform_is_handed_out_as_it_is() -> None:
    """A transform may return an object that no library can build or copy."""

    class Client(Opaque):
        def __deepcopy__(self, memo: object) -> Client:
            return Client("copied")  # pragma: no cover - it is not copied

    client = received(Client, "text", Secret("prod/secret", transform=Client))
    assert client.text == "text"

    class Eager(pydantic.BaseModel, revalidate_instances="always"):
        number: int

    made = Eager.model_construct(number="text")
    assert received(Eager, "text", Secret("prod/secret", transform=lambda _: made)) == made
    assert (
        reason(Client, CANARY, Secret("prod/secret", transform=Opaque))
        == "expected `Client`, got `Opaque`"
    )


# Values that do not fit


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (str, CANARY.encode(), "expected `str`, got `bytes`"),
        (bytes, CANARY, "expected `bytes`, got `str`"),
        (dict, CANARY, "it is not JSON (line 1, column 1)"),
        (dict, f'["{CANARY}"]', "expected `dict`, got `list`"),
        (list[int], f'[1, "{CANARY}"]', "expected `int`, got `str` at `$[1]`"),
        (dict[str, int], {CANARY: 1.5}, "expected `int`, got `float` at `$[...]`"),
        (dict[str, list[int]], {CANARY: [CANARY]}, "expected `int`, got `str` at `$[...][0]`"),
        (int, "true", "expected `int`, got `bool`"),
        (float, "true", "expected `float`, got `bool`"),
        (int, "1.0", "expected `int`, got `float`"),
        (int, f'"{CANARY}"', "expected `int`, got `str`"),
        (float, "1" + "0" * 400, "expected `float`, got `int`"),
        (bool, "1", "expected `bool`, got `int`"),
        (int | None, f'"{CANARY}"', "expected `int`, got `str`"),
        (int | bool, f'"{CANARY}"', "expected `int`, got `str`; or expected `bool`, got `str`"),
        (Literal["live", 1], CANARY, "expected one of 'live', 1"),
        (Literal[1], "true", "expected one of 1"),
        (list[Literal[1]], "[2]", "expected one of 1 at `$[0]`"),
        (Stage, CANARY, "expected a value of `Stage`"),
        (Level, f'"{CANARY}"', "expected a value of `Level`"),
        (Level, "true", "expected a value of `Level`"),
        (Touchy, CANARY, "expected a value of `Touchy`"),
        (list[Touchy], f'["{CANARY}"]', "expected a value of `Touchy` at `$[0]`"),
    ],
)
def test_builtin_types_refuse(wanted: Any, value: Any, expected: str) -> None:
    """The reason names types and places, but never keys or values."""
    assert reason(wanted, value) == expected


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (Login, {"user": "u", "port": CANARY}, "expected `int`, got `str` at `$.port`"),
        (Login, {"port": 1, CANARY: CANARY}, "the field `user` is missing"),
        (Cluster, {"writer": {}}, "the field `user` is missing at `$.writer`"),
        (
            Cluster,
            {"writer": {"user": "u"}, "readers": {CANARY: {"user": 5}}},
            "expected `str`, got `int` at `$.readers[...].user`",
        ),
        (Login, CANARY, "it is not JSON (line 1, column 1)"),
        (Login, f'"{CANARY}"', "expected `object`, got `str`"),
        (datetime, "1709164800", "it does not fit the type"),
        (LoginDict, {"user": 1}, "expected `str`, got `int` at `$.user`"),
        (LoginTuple, f'["{CANARY}", "{CANARY}"]', "expected `int`, got `str` at `$[1]`"),
        (LoginStruct, {"user": "u", CANARY: 1}, "it does not fit the type"),
        (Tagged, {"type": CANARY, "user": "u"}, "it does not fit the type at `$.type`"),
        (dict[int, Login], {CANARY: {}}, "expected `int`, got `str` at `key` in `$`"),
        (UUID, CANARY, "it does not fit the type"),
        (Annotated[str, msgspec.Meta(max_length=3)], CANARY, "expected `str` of length <= 3"),
        (
            Annotated[list[int], msgspec.Meta(max_length=0)],
            "[1]",
            "expected `array` of length <= 0",
        ),
        (
            Checked,
            {"token": CANARY},
            "its own check raised ValueError (the message is withheld: it may quote the value)",
        ),
        (
            list[Checked],
            f'[{{"token": "{CANARY}"}}]',
            (
                "its own check raised ValueError (the message is withheld: it may quote the value)"
                " at `$[0]`"
            ),
        ),
        (
            Checked,
            {"token": f"other {CANARY}"},
            "its own check raised LookupError (the message is withheld: it may quote the value)",
        ),
    ],
)
def test_msgspec_refuses(wanted: Any, value: Any, expected: str) -> None:
    """The reason repeats types and fields from msgspec, but no text that quotes a value."""
    assert reason(wanted, value) == expected


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (
            LoginModel,
            {"port": CANARY},
            "it does not fit at `$.user` (missing); it does not fit at `$.port` (int_parsing)",
        ),
        (
            list[LoginModel],
            f'[{{"user": "u", "ports": {{"{CANARY}": "{CANARY}"}}}}]',
            "it does not fit at `$[0].ports[...]` (int_parsing)",
        ),
        (StrictModel, {"port": "5"}, "it does not fit at `$.port` (int_type)"),
        (StrictModel, {"port": 5, CANARY: 1}, "it does not fit at `$[...]` (extra_forbidden)"),
        (LoginModel, f'"{CANARY}"', "it does not fit (model_type)"),
        (LoginModel, CANARY, "it is not JSON (line 1, column 1)"),
        (
            pydantic.RootModel[list[LoginModel]],
            [{"user": "u", "port": CANARY}],
            "it does not fit at `$[0].port` (int_parsing)",
        ),
        (
            pydantic.Secret[LoginModel],
            {"user": "u", "port": CANARY},
            "it does not fit at `$.port` (int_parsing)",
        ),
        (
            QuotingModel,
            {"token": CANARY, "custom": CANARY},
            (
                "it does not fit at `$.token` (value_error); "
                "it does not fit at `$.custom` (custom error)"
            ),
        ),
        (
            QuotingModel,
            {"token": f"other {CANARY}"},
            "its own check raised LookupError (the message is withheld: it may quote the value)",
        ),
        (Annotated[str, pydantic.Field(max_length=3)], CANARY, "it does not fit (string_too_long)"),
        (Annotated[str, annotated_types.MaxLen(3)], CANARY, "it does not fit (string_too_long)"),
        (Mixed, {"model": {"user": 5}}, "it does not fit at `$.model.user` (string_type)"),
        (pydantic.AnyUrl, CANARY, "it does not fit (url_parsing)"),
    ],
)
def test_pydantic_refuses(wanted: Any, value: Any, expected: str) -> None:
    """The reason repeats place and code from pydantic, but no text that quotes a value."""
    assert reason(wanted, value) == expected


@pytest.mark.parametrize(
    ("wanted", "declaration", "value", "expected"),
    [
        (dict, LIST, [CANARY], "expected `dict`, got `list`"),
        (str, LIST, [CANARY], "expected `str`, got `list`"),
        (list[int], LIST, ["1", CANARY], "expected `int`, got `str` at `$[1]`"),
        (list[int], LIST, ["1", '"2"'], "expected `int`, got `str` at `$[1]`"),
        (dict[str, list[int]], TREE, {"a": '["1"]'}, "expected `list`, got `str` at `$[...]`"),
        (
            Login,
            Secret("prod/secret", "a"),
            {"a": {"user": "u", "port": "5"}},
            "expected `int`, got `str` at `$.port`",
        ),
        (
            Annotated[str, msgspec.Meta(max_length=3)],
            Secret("prod/secret", transform=str.strip),
            CANARY,
            "expected `str` of length <= 3",
        ),
        (
            LoginModel,
            Secret("prod/secret", transform=circular),
            CANARY,
            "it does not fit (model_type)",
        ),
        (list[int], LIST, ["1", "[2]"], "expected `int`, got `str` at `$[1]`"),
        (Login, TREE, {"user": "u", "port": CANARY}, "expected `int`, got `str` at `$.port`"),
        (int, Secret("prod/secret", "a"), {"a": "5"}, "expected `int`, got `str`"),
        (Login, Secret("prod/secret", "a"), {"a": CANARY}, "expected `object`, got `str`"),
        (int, Secret("prod/secret", transform=str), "5", "expected `int`, got `str`"),
    ],
)
def test_other_sources_refuse(
    wanted: Any, declaration: Declaration, value: Any, expected: str
) -> None:
    """Misfits from lists, trees, paths and transforms are refused with a reason, too."""
    assert reason(wanted, value, declaration) == expected


DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
WANTED = [
    str,
    bytes,
    int | None,
    float,
    dict[str, int],
    list[str | None],
    Literal["a", 1],
    Stage,
    Login,
    Login | str,
    LoginDict,
    LoginStruct,
    LoginModel,
    StrictModel,
    Checked,
]


def converters(declaration: Declaration) -> list[Callable[[Any], Any]]:
    """Return a converter for each type in `WANTED`."""

    def handler(event: Any, context: Any, *, it: Any) -> None: ...

    made = []
    for wanted in WANTED:
        handler.__annotations__ = {"it": Annotated[wanted, declaration]}
        made.append(declared_in(handler, "")["it"].convert)
    return made


@given(st.text() | st.binary() | DOCUMENTS.map(msgspec.json.encode) | DOCUMENTS)
def test_nothing_is_raised_whatever_the_value(value: Any) -> None:
    """Any value fits or gives a reason: no exception is raised that could carry it along."""
    for declaration in (SECRET, Secret("prod/secret", "a"), TREE):
        for convert in converters(declaration):
            convert(opaque(value))


# Copies


@pytest.mark.parametrize("wanted", [Login, LoginStruct, LoginModel, LoginDict, dict])
def test_what_a_handler_changes_stays_its_own(wanted: Any) -> None:
    """Each invocation gets a fresh copy, whatever the type."""

    def handler(event: Any, context: Any, *, it: Any) -> Any:
        user = it["user"] if isinstance(it, dict) else it.user
        if isinstance(it, dict):
            it["user"] = "changed"
        else:
            it.user = "changed"
        return user

    handler.__annotations__ = {"it": Annotated[wanted, SECRET]}
    decorated = inject_secrets(handler)
    with override_secrets({"prod/secret": {"user": "u"}}):
        assert [decorated({}, None) for _ in range(3)] == ["u"] * 3


@pytest.mark.parametrize(
    ("wanted", "value", "kind"),
    [
        (dict, {"a": [None, 1, "s"]}, dict),
        (list[dict[str, float]], '[{"a": 1}]', list),
        (LoginDict, {"user": "u"}, dict),
        (bool, "true", bool),
        (list[Stage], '["live"]', Wrapped),
        (dict[str, Login], {"a": {"user": "u"}}, Wrapped),
        (Login, {"user": "u"}, Wrapped),
    ],
)
def test_only_what_is_no_plain_data_is_copied_as_an_object(
    wanted: Any, value: Any, kind: type
) -> None:
    """Dicts, lists and scalars are copied the fast way, like untyped values."""

    def handler(event: Any, context: Any, *, it: Any) -> None: ...

    handler.__annotations__ = {"it": Annotated[wanted, SECRET]}
    text = value if isinstance(value, str) else json.dumps(value)
    assert type(declared_in(handler, "")["it"].convert(opaque(text))) is kind


@dataclass
class Connection:
    """An object that cannot be copied."""

    user: str
    lock: Any = field(default_factory=threading.Lock)


def test_object_that_cannot_be_copied_is_shared() -> None:
    """An object that cannot be copied is built once per value."""

    @inject_secrets
    def handler(event: Any, context: Any, *, it: Annotated[Connection, SECRET]) -> Any:
        return it

    with override_secrets({"prod/secret": {"user": "u"}}):
        assert handler({}, None).user == "u"
        assert handler({}, None) is handler({}, None)


@dataclass
class Counted:
    """An object that notes when it is made."""

    user: str
    made: ClassVar[list[str]] = []

    def __post_init__(self) -> None:
        """Note it."""
        self.made.append(self.user)


def test_conversion_is_made_once_for_each_value() -> None:
    """A warm invocation copies; it neither parses nor validates again."""

    @inject_secrets
    def handler(event: Any, context: Any, *, it: Annotated[Counted, Secret("prod/secret")]) -> Any:
        return it.user

    values = {"prod/secret": {"user": "old"}}
    with override_secrets(values):
        assert [handler({}, None) for _ in range(3)] == ["old"] * 3
        values["prod/secret"] = {"user": "new"}
        handler.secrets.refresh()
        assert [handler({}, None) for _ in range(3)] == ["new"] * 3
    assert Counted.made == ["old", "new"]


def test_infinite_numbers_are_what_python_reads() -> None:
    """JSON has no infinity, but Python's parser accepts it."""
    assert math.isinf(received(float, "Infinity"))


# Types that nothing builds


def unbuildable(event: Any, context: Any, *, it: Annotated[Opaque, SECRET]) -> None:
    """Take a type that no library builds."""


def holder(event: Any, context: Any, *, it: Annotated[list[Holder], SECRET]) -> None:
    """Take a list of a type with a field that no library builds."""


def dangling(event: Any, context: Any, *, it: Annotated[Dangling, SECRET]) -> None:
    """Take a type with a field whose type does not exist."""


def iterated(event: Any, context: Any, *, it: Annotated[Iterable[str], SECRET]) -> None:
    """Take a type whose object would be empty from the second invocation on."""


def streaming(event: Any, context: Any, *, it: Annotated[Streaming, SECRET]) -> None:
    """Take a type with such a field."""


def generator(
    event: Any, context: Any, *, it: Annotated[list[Generator[str]] | None, SECRET]
) -> None:
    """Take a type with such items."""


def protocol(
    event: Any, context: Any, *, it: Annotated[Speaks, Secret("s", transform=Opaque)]
) -> None:
    """Take a type that cannot be checked."""


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            unbuildable,
            (
                "Cannot convert 'it' to tests.test_conversion.Opaque: msgspec cannot build "
                "tests.test_conversion.Opaque; pydantic cannot build it "
                "(PydanticSchemaGenerationError: "
            ),
        ),
        (
            holder,
            (
                "Cannot convert 'it' to list[tests.test_conversion.Holder]: msgspec cannot build "
                "tests.test_conversion.Opaque; pydantic cannot build it "
                "(PydanticSchemaGenerationError: "
            ),
        ),
        (
            dangling,
            (
                "Cannot convert 'it' to tests.test_conversion.Dangling: msgspec cannot build it "
                "(NameError: name 'Imaginary' is not defined); pydantic cannot build it ("
            ),
        ),
        (protocol, "Cannot convert 'it' to tests.test_conversion.Speaks: "),
        *(
            (
                function,
                (
                    f"Cannot convert 'it' to {shown}: msgspec cannot build "
                    f"collections.abc.{kind}; pydantic cannot build it before it is iterated: "
                    "use list or tuple. "
                ),
            )
            for function, shown, kind in (
                (iterated, "collections.abc.Iterable[str]", "Iterable"),
                (streaming, "tests.test_conversion.Streaming", "Iterable"),
                (generator, "list[collections.abc.Generator[str]] | None", "Generator"),
            )
        ),
    ],
)
def test_type_that_nothing_builds_is_refused(function: Callable[..., Any], expected: str) -> None:
    """The error, raised when the decorator is applied, gives each library's reason."""
    with pytest.raises(DeclarationError) as caught:
        inject_secrets(function)
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("or make the object from the value with build=.")


# Libraries


def test_a_name_for_a_type_is_converted_as_the_type_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model behind a `NewType` is as lax as the model itself; a builtin type needs no library."""
    assert received(Named, {"user": "u", "password": "p", "port": "5"}).port == 5
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for wanted in (Alias, Numbers, Annotated[Alias, "a remark"]):
        assert received(wanted, {"a": 1}) == {"a": 1}
    assert received(list[Port], "[1]") == [1]


def test_without_msgspec_pydantic_builds_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dataclasses stay as strict as with msgspec; a Struct cannot be built."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert received(Login, {"user": "u", "port": 5}) == Login("u", 5)
    assert received(Login, {"user": "u", "port": "5"}, TREE) == Login("u", 5)
    assert received(ExtendedDict, {"user": "u"}) == {"user": "u"}
    assert reason(Login, {"user": "u", "port": "5"}) == "it does not fit at `$.port` (int_type)"
    with pytest.raises(
        DeclarationError, match=r"msgspec is not installed \(.*\); pydantic cannot build it"
    ):
        received(LoginStruct, {})


def test_without_pydantic_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that pydantic is missing, whether msgspec was tried or not."""
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for wanted in (Opaque, LoginModel):
        with pytest.raises(DeclarationError, match=r"pydantic is not installed\. Use"):
            received(wanted, {})


def test_what_a_library_itself_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is installed, but lacks another one, tells which."""
    monkeypatch.setitem(sys.modules, "email_validator", None)
    with pytest.raises(DeclarationError) as caught:
        received(pydantic.EmailStr, "a@example.com")
    assert "email-validator is not installed" in str(caught.value)
    assert "pydantic is not installed" not in str(caught.value)


def test_without_either_builtins_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type that needs a library is refused with advice on what to install."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert received(dict[str, int] | None, {"a": 1}) == {"a": 1}
    assert received(dict[Any, int], {"a": 1}) == {"a": 1}
    assert received(Optional[int], "1") == 1  # noqa: UP045 - some write it so
    assert received(bytes, b"b") == b"b"
    values: list[Any] = [{"a": 1}, [1], 5, 0.5, True, None]
    for value in values:
        assert received(type(value), json.dumps(value)) == value
    with pytest.raises(DeclarationError) as caught:
        received(Login, {})
    assert str(caught.value) == (
        "Cannot convert 'it' to tests.test_conversion.Login: msgspec is not installed "
        "(lambda-secrets[typed] installs it); pydantic is not installed. Use another type, or make "
        "the object from the value with build=."
    )


def loaded_by(script: str) -> set[str]:
    """Return the modules that a script loads in a new interpreter."""
    command = [sys.executable, "-c", f"{script}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_nothing_is_imported_that_is_not_used() -> None:
    """A mapping loads no conversion code; builtin types in a signature load neither library."""
    handler = "@inject_secrets{}\ndef handler(event, context{}): pass"
    start = "from lambda_secrets import Secret, inject_secrets\n"
    mapping = loaded_by(start + handler.format("({'a': 'a'})", ""))
    assert mapping.isdisjoint({"lambda_secrets._signature", "msgspec", "pydantic"})
    typed = loaded_by(
        f"from typing import Annotated, Any\n{start}"
        + handler.format("", ", *, a: Annotated[dict[str, Any] | None, Secret('a')]")
    )
    assert "lambda_secrets._signature" in typed
    assert typed.isdisjoint({"msgspec", "pydantic"})


@pytest.mark.parametrize("depth", [300, 980])
@pytest.mark.parametrize("kind", [list, Any, Annotated[Any, pydantic.AfterValidator(list)]])
def test_a_value_nested_deeply_is_converted(kind: Any, depth: int) -> None:
    """Conversion does not recurse to the full depth of a value, nor end where pydantic's does."""

    def handler(*, it: Any) -> Any:
        return it

    handler.__annotations__["it"] = Annotated[kind, Secret("prod/secret", "@")]
    with override_secrets({"prod/secret": "[" * depth + "]" * depth}):
        found = inject_secrets(handler)()
    for _ in range(depth - 1):
        (found,) = found
    assert found == []

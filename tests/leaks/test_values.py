"""Values that do not fit: every way in which reading and converting can fail."""

from __future__ import annotations

import base64
import enum
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypedDict, cast

import msgspec
import pydantic
import pytest

from lambda_secrets import (
    MemoryBackend,
    Parameter,
    ParameterTree,
    ResolutionError,
    Secret,
    SecretValueError,
    inject_secrets,
    resolve_secrets,
)
from tests.support.canary import BINARY, DOCUMENT, NUMBER, TEXT, leaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from awslambdaric.lambda_context import LambdaContext


def quoting(error: type[BaseException]) -> Callable[[Any], NoReturn]:
    """Return a transform that raises with the value in its message, cause and context."""

    def transform(value: Any) -> NoReturn:
        first = KeyError(value)
        first.add_note(str(value))
        second = error(f"cannot read {value}")
        second.__context__ = json.JSONDecodeError("it", str(value), 0)
        raise second from first

    return transform


def nested(value: Any) -> NoReturn:
    """Raise a group with the value in it."""
    raise ExceptionGroup(f"{value}", [ValueError(value)])


UNFIT: dict[str, tuple[Any, Any]] = {
    "text that is no JSON": (TEXT, Secret("it", "key")),
    "JSON cut off": (json.dumps(DOCUMENT)[:-1], Secret("it", "key")),
    "JSON with more behind it": (json.dumps(DOCUMENT) + TEXT, Secret("it", "@")),
    "a control character": (f'{{"a": "{TEXT}\n"}}', Secret("it", "a")),
    "bytes that are no UTF-8": (BINARY, Secret("it", "key")),
    "no match": (DOCUMENT, Secret("it", "absent")),
    "null": ({"a": None, "b": TEXT}, Secret("it", "a")),
    "a JMESPath function of the wrong type": (DOCUMENT, Secret("it", "abs(key)")),
    "JMESPath of mixed types": (DOCUMENT, Secret("it", "sort(deep.list)")),
    "JMESPath without a length": (DOCUMENT, Secret("it", "length(number)")),
    "JMESPath by a key that is none": (DOCUMENT, Secret("it", "max_by([@], &key.no)")),
    "JMESPath join of a number": (DOCUMENT, Secret("it", "join('-', deep.list)")),
    "transform json": (f"[{TEXT}]", Secret("it", transform="json")),
    "transform json of bytes": (BINARY, Secret("it", transform="json")),
    "transform binary": (f"{TEXT}===", Secret("it", transform="binary")),
    "transform binary beyond ASCII": (f"{TEXT}\xfc", Secret("it", transform="binary")),
    "transform of a list": ([TEXT], Parameter("/it", transform="binary")),
    "transform int": (TEXT, Secret("it", transform=int)),
    "transform that raises": (TEXT, Secret("it", transform=quoting(ValueError))),
    "transform that raises our own": (TEXT, Secret("it", transform=quoting(SecretValueError))),
    "transform that raises a group": (TEXT, Secret("it", transform=nested)),
    "transform that decodes": (BINARY, Secret("it", transform=lambda data: data.decode())),
    "transform that asserts": (TEXT, Secret("it", transform=quoting(AssertionError))),
    "transform of a tree": ({"a": TEXT, "b": "[]"}, ParameterTree("/it/", transform="json")),
    "transform, then path": (TEXT, Secret("it", "abs(@)", transform=lambda text: text)),
}


@pytest.mark.parametrize("case", UNFIT)
def test_value_that_does_not_fit_is_not_shown(case: str) -> None:
    """The error names the secret, and neither the error nor its frames show a value."""
    value, declaration = UNFIT[case]
    backend = MemoryBackend({Secret("good"): "fine", _bare(declaration): value})
    with pytest.raises(SecretValueError, match="'it'") as caught:
        resolve_secrets({"good": "good", "it": declaration}, backend=backend)
    assert leaks(caught.value, declaration, backend) == []


def _bare(declaration: Any) -> Any:
    """Return the declaration string of the whole source."""
    return str(declaration.source)


def test_failing_default_and_failing_siblings_are_not_shown() -> None:
    """An error for several names shows neither the good values nor a default."""
    declared: dict[str, Any] = {
        "good": "good",
        "default": Secret("absent", default=TEXT),
        "bad": "good#key",
        "missing": "absent#a",
    }
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets(declared, backend=MemoryBackend({"good": TEXT}))
    assert set(caught.value.failures) == {"bad", "missing"}
    assert leaks(caught.value, *caught.value.failures.values(), *declared.values()) == []


class Color(enum.Enum):
    """Colours."""

    RED = "red"


class Strict(enum.Enum):
    """Quotes a value that it does not know."""

    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"{value} is no {cls}")


class Table(TypedDict):
    """A table."""

    key: int


@dataclass
class Data:
    """A dataclass that checks."""

    key: int


@dataclass
class Checked:
    """A dataclass whose check quotes the value."""

    key: str

    def __post_init__(self) -> None:
        raise ValueError(f"not {self.key}") from KeyError(self.key)


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    """A struct."""

    key: int


class Tagged(msgspec.Struct, tag_field="key", tag="one"):
    """A struct with a tag."""


class Other(msgspec.Struct, tag_field="key", tag="two"):
    """Another one."""


class Limited(msgspec.Struct):
    """A struct with a pattern."""

    key: Annotated[str, msgspec.Meta(pattern="^x$")]


class CheckedStruct(msgspec.Struct):
    """A struct whose check quotes the value."""

    key: str

    def __post_init__(self) -> None:
        raise ValueError(f"not {self.key}")


class Model(pydantic.BaseModel, extra="forbid"):
    """A model."""

    key: int


class Validated(pydantic.BaseModel):
    """A model whose validator quotes the value."""

    key: str

    @pydantic.field_validator("key")
    @classmethod
    def check(cls, value: str) -> str:
        """Refuse."""
        raise ValueError(f"not {value}")


class Custom(pydantic.BaseModel):
    """A model whose error has the value in its type and context."""

    key: str

    @pydantic.field_validator("key")
    @classmethod
    def check(cls, value: str) -> str:
        """Refuse."""
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError(cast("Any", value), "not {it}", {"it": value})


class Asserting(pydantic.BaseModel):
    """A model whose validator asserts."""

    key: str

    @pydantic.model_validator(mode="after")
    def check(self) -> Asserting:
        """Refuse."""
        raise AssertionError(self.key)


class Hidden(pydantic.BaseModel):
    """A model with a secret type, whose own fields are wrong."""

    key: pydantic.SecretStr
    number: pydantic.SecretBytes
    n: Literal[4]


class Union(pydantic.BaseModel):
    """A model with a union."""

    key: Model | Data | int
    deep: dict[str, int]


KINDS = [
    *(int, float, bool, bytes, list, dict[str, int], list[int], Color, Strict, int | None),
    *(Literal["a", "b"], dict[str, dict[str, list[int]]], int | list[int]),
    *(Table, Data, Checked, Struct, Limited, CheckedStruct, Tagged | Other),
    *(Model, Validated, Custom, Asserting, Hidden, Union),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_value_that_is_not_of_the_annotated_type_is_not_shown(
    kind: Any, context: LambdaContext
) -> None:
    """Validation errors of msgspec, pydantic and others quote their input; ours do not."""
    paths = (None, "@", "key", "number", "deep.list")
    values = (TEXT, f'"{TEXT}"', str(NUMBER), f"[{TEXT}", BINARY)
    errors: list[SecretValueError] = []
    for value, path in [(DOCUMENT, path) for path in paths] + [(value, None) for value in values]:

        def handler(event: Any, context: Any, *, it: Any) -> None:
            """Take it."""

        handler.__annotations__["it"] = Annotated[kind, Secret("it", path)]
        injected = inject_secrets(backend=MemoryBackend({"it": value}))(handler)
        try:
            injected({}, context)
        except SecretValueError as error:
            errors.append(error)
    assert len(errors) >= 5
    assert leaks(*errors) == []


def test_interrupted_transform_shows_no_value_of_ours() -> None:
    """An interrupt is raised as it is, without a value in our frames."""

    def transform(value: str) -> NoReturn:
        raise KeyboardInterrupt

    declaration = ParameterTree("/it/", transform=transform)
    backend = MemoryBackend({"ssm:/it/": {"a": TEXT}})
    with pytest.raises(KeyboardInterrupt) as caught:
        resolve_secrets({"it": declaration}, backend=backend)
    assert leaks(caught.value) == []


def test_base64_of_the_canary_would_be_found() -> None:
    """The check for leaks finds the base64 form of the binary canary too."""
    assert leaks(ValueError(base64.b64encode(BINARY).decode()))

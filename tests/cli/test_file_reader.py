"""The backend over the values of a secrets file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import AppConfig, Parameter, ParameterTree, Secret, SecretNotFoundError
from lambda_secrets.backends import Answer
from lambda_secrets.cli.emulator.local import LocalValues
from lambda_secrets.cli.file_reader import FileReader

if TYPE_CHECKING:
    from lambda_secrets._secret import Declaration

TABLES: dict[str, dict[str, Any]] = {
    "secrets": {"prod/db": {"user": "u"}},
    "binary": {"prod/key": "AAEC"},
    "parameters": {"/prod/url": "x", "/prod/app/list": ["a", "b"], "/prod/app/deep/n": "1"},
    "secure_strings": {"/prod/pin": "1234"},
    "appconfig": {"shop/prod/flags": "on"},
}
FAR = "arn:aws:secretsmanager:ap-south-1:210987654321:secret:prod/db-AbCdEf"


def _read(declaration: Declaration, values: LocalValues | None = None) -> Any:
    reader = FileReader(values or LocalValues(TABLES))
    return reader.fetch([declaration.source], timeout=1, fresh=True)[declaration.source]


@pytest.mark.parametrize(
    ("declaration", "value"),
    [
        (Secret("prod/db"), '{"user": "u"}'),
        (Secret(FAR), '{"user": "u"}'),
        (Secret("prod/key"), b"\x00\x01\x02"),
        (Parameter("/prod/url"), "x"),
        (Parameter("/prod/app/list"), ["a", "b"]),
        (Parameter("/prod/pin"), "1234"),
        (ParameterTree("/prod/app/"), {"list": ["a", "b"], "deep/n": "1"}),
        (ParameterTree("/prod/app/", recursive=False), {"list": ["a", "b"]}),
        (AppConfig("shop", "prod", "flags"), "on"),
    ],
)
def test_each_kind_has_its_value(declaration: Declaration, value: object) -> None:
    """Text, bytes, a list or a dict, as AWS would answer; an ARN is found by its name."""
    answer = _read(declaration)
    assert isinstance(answer, Answer)
    assert answer.value == value


def test_versions_are_those_of_the_values() -> None:
    """A rotation leaves the earlier version of a secret or parameter to be asked for."""
    values = LocalValues(TABLES)
    for target in ("prod/db", "ssm:/prod/url"):
        values.rotate(target, "new")
    previous = Secret("prod/db", version_stage="AWSPREVIOUS")
    assert _read(previous, values).value == '{"user": "u"}'
    assert _read(Parameter("/prod/url", version=1), values).value == "x"
    assert _read(Parameter("/prod/url"), values).value == "new"


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (Secret("prod/nope"), "this backend has no value for it"),
        (Secret("prod/db", version_stage="AWSPENDING"), "this backend has no value for it"),
        (Parameter("/prod/url", label="Live"), "this backend has no value for it"),
        (ParameterTree("/nope/"), "there are no parameters below it"),
    ],
)
def test_what_the_file_lacks_is_not_found(declaration: Declaration, message: str) -> None:
    """A missing name, version or label, and an empty tree, are not found."""
    answer = _read(declaration)
    assert isinstance(answer, SecretNotFoundError)
    assert message in str(answer)

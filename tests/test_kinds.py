"""Declarations through environment variables, and in the form that ECS uses."""

from __future__ import annotations

import itertools
import traceback
from typing import Any

import pytest

from lambda_secrets import (
    AppConfig,
    DeclarationError,
    MemoryBackend,
    Parameter,
    ParameterTree,
    Secret,
    Source,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._declarations import declare
from lambda_secrets._kinds import effective
from lambda_secrets._values import opaque

CANARY = "hunter2-canary"
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"
VERSION = "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"

# The ECS form


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (":::", Secret(ARN)),
        (":user::", Secret(ARN, '"user"')),
        (":user.name::", Secret(ARN, '"user.name"')),
        (':a"b\\c::', Secret(ARN, '"a\\"b\\\\c"')),
        (":é::", Secret(ARN, '"é"')),
        ("::AWSPREVIOUS:", Secret(ARN, version_stage="AWSPREVIOUS")),
        (f":::{VERSION}", Secret(ARN, version_id=VERSION)),
        (f":user:AWSPREVIOUS:{VERSION}", None),
    ],
)
def test_the_form_of_ecs_is_read(fields: str, expected: Secret | None) -> None:
    """Case 31: key, stage and version may each be empty; the key is literal, not JMESPath."""
    declared = declare(ARN + fields)
    if expected is None:
        expected = Secret(ARN, '"user"', version_stage="AWSPREVIOUS", version_id=VERSION)
    assert declared == expected
    assert declared.source == expected.source


@pytest.mark.parametrize("key", ["user", "user.name", 'a"b\\c', "é", "@", "a-b", "*"])
def test_a_key_of_ecs_is_found_as_it_is(key: str) -> None:
    """JMESPath syntax has no meaning in an ECS key."""
    assert declare(f"{ARN}:{key}::").extract(opaque({key: "found"})) == "found"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{ARN}:user::#name", "it has both a JSON key and a JMESPath expression. Drop ':user' or"),
        (f"{ARN}:user:", "the ECS form ends in three fields"),
        (f"{ARN}::::", "the ECS form ends in three fields"),
        (f"{ARN}:::v1", "version_id must be 32 to 64 characters long"),
        (
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:::::",
            "it is not the ARN of a secret",
        ),
    ],
)
def test_a_wrong_form_of_ecs_is_refused(text: str, problem: str) -> None:
    """A key together with a path, or a missing, extra or malformed field, is an error."""
    with pytest.raises(DeclarationError) as raised:
        declare(text)
    assert problem in str(raised.value)


def test_a_stage_of_ecs_goes_with_a_path() -> None:
    """A stage can be combined with a path: only a JSON key excludes one."""
    assert declare(f"{ARN}::AWSPREVIOUS:#a.b") == Secret(ARN, "a.b", version_stage="AWSPREVIOUS")


# Environment variables


@pytest.mark.parametrize(
    ("text", "held", "expected"),
    [
        ("env:IT", "prod/db", Secret("prod/db")),
        ("env:IT", "prod/db#user", Secret("prod/db", "user")),
        ("env:IT#@", "prod/db", Secret("prod/db", "@")),
        ("env:IT#@", "prod/db#user", Secret("prod/db", "@")),
        ("env:IT", "ssm:/url", Parameter("/url")),
        ("env:IT#a", "ssm:/url#b", Parameter("/url", "a")),
        ("env:IT", "ssm:/app/", ParameterTree("/app/")),
        ("env:IT", "appconfig:a/e/p", AppConfig("a", "e", "p")),
        ("env:IT", ARN, Secret(ARN)),
        ("env:IT", f"{ARN}:user::", Secret(ARN, '"user"')),
        ("env:IT#a", f"{ARN}::AWSPREVIOUS:", Secret(ARN, "a", version_stage="AWSPREVIOUS")),
    ],
)
def test_a_variable_holds_a_declaration(
    text: str, held: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable may contain a path; a path in the declaration itself wins."""
    declared = declare(text)
    monkeypatch.setenv("IT", held)
    assert declared.resolved() == expected
    assert declared.source == expected.source
    assert str(declared) == text
    assert declared.variable == "IT"


OBJECTS: list[tuple[Any, str, Any]] = [
    (
        Secret("env:IT", "a", version_stage="OLD", build=len, close=print, ttl=5, default=1),
        "prod/db",
        Secret("prod/db", "a", version_stage="OLD", build=len, close=print, ttl=5, default=1),
    ),
    (Secret("env:IT", pending=True), ARN, Secret(ARN, pending=True)),
    (
        Parameter("env:IT", label="live", decrypt=False, transform="json"),
        "/url",
        Parameter("/url", label="live", decrypt=False, transform="json"),
    ),
    (ParameterTree("env:IT", recursive=False), "/app", ParameterTree("/app/", recursive=False)),
]


@pytest.mark.parametrize(("declared", "held", "expected"), OBJECTS)
def test_an_object_takes_its_name_from_a_variable(
    declared: Any, held: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable gives only the name; everything else comes from the object."""
    monkeypatch.setenv("IT", held)
    assert declared.resolved() == expected
    assert declared.resolved().resolved() == expected
    assert declared.name == "env:IT"


@pytest.mark.parametrize("declared", [declare("env:IT"), Secret("env:IT"), Parameter("env:IT")])
@pytest.mark.parametrize("held", [None, ""])
def test_a_variable_that_is_unset_or_empty_is_named(
    declared: Any, held: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 34: the message says which variable to set."""
    if held is not None:
        monkeypatch.setenv("IT", held)
    with pytest.raises(DeclarationError, match=r"IT is unset or empty.*list 'env:IT' in"):
        declared.resolved()


@pytest.mark.parametrize(
    ("declared", "held"),
    [
        (declare("env:IT"), f" {CANARY}"),
        (declare("env:IT"), f"env:{CANARY}"),
        (declare("env:IT"), f"vault:{CANARY}"),
        (declare("env:IT"), f"{CANARY}#a["),
        (declare("env:IT"), f"{CANARY}\n"),
        (declare("env:IT#a"), f"{ARN}:{CANARY}::"),
        (Secret("env:IT"), f"ssm:{CANARY}"),
        (Secret("env:IT"), f"{CANARY}#a"),
        (Secret("env:IT"), f"{ARN}:{CANARY}::"),
        (Secret("env:IT"), "env:OTHER"),
        (Secret("env:IT"), f"http://admin:{CANARY}@db.internal"),
        (Secret("env:IT"), f"user:{CANARY}"),
        (Parameter("env:IT"), f"/{CANARY}/"),
        (ParameterTree("env:IT"), CANARY),
        *itertools.product(  # names that AWS does not allow are refused too
            [declare("env:IT"), Secret("env:IT"), declare("env:IT#a"), Parameter("env:IT")],
            [f'{{"password": "{CANARY}"}}', f"{CANARY} word", f"{CANARY}é"],
        ),
    ],
)
def test_what_a_variable_holds_wrong_is_not_shown(
    declared: Any, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong value may be a secret, so no message, cause or frame contains it."""
    monkeypatch.setenv("IT", held)
    with pytest.raises(DeclarationError, match="variable IT does not hold") as raised:
        declared.resolved()
    assert CANARY not in str(raised.value)
    assert ("JSON key of the ECS form" in str(raised.value)) is (str(declared) == "env:IT#a")
    assert raised.value.__cause__ is raised.value.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__traceback__)][1:]
    assert frames
    assert not any(CANARY in repr(frame.f_locals) for frame in frames)


@pytest.mark.parametrize("text", ["env:", "env: IT", "env:A=B", "env:A:B", "env: "])
def test_a_name_of_no_variable_is_refused(text: str) -> None:
    """An invalid variable name is an error at once."""
    with pytest.raises(DeclarationError, match="Cannot declare"):
        declare(text)


def test_a_variable_is_no_part_of_an_appconfig_name() -> None:
    """A variable cannot stand for one of AppConfig's three names, only for all of them."""
    with pytest.raises(DeclarationError, match="Declare 'env:NAME', with appconfig:"):
        AppConfig("env:IT", "e", "p")


def handler(event: Any, context: Any) -> None:
    """Take secrets."""


def test_a_variable_is_read_when_it_is_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside Lambda, a module can be imported before the variables it declares are set."""
    inject_secrets({"it": "env:IT#@"})(handler)
    monkeypatch.setenv("IT", "prod/db")
    backend = MemoryBackend({"prod/db": '{"a": 1}'})
    assert resolve_secrets({"it": "env:IT#@"}, backend=backend).it == {"a": 1}


def test_inside_lambda_a_variable_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside Lambda, an unset variable fails the import, like any wrong declaration."""
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    with pytest.raises(DeclarationError, match="variable IT is unset"):
        inject_secrets({"it": "env:IT#@"})(handler)


class Override:
    """An override that lists one variable."""

    @staticmethod
    def holds_variable(name: str) -> bool:
        """Return whether the variable is listed."""
        return name == "IT"


@pytest.mark.parametrize("held", [None, "prod/db#a", "vault:"])
def test_an_override_may_stand_for_a_variable(
    held: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An override wins whatever the variable holds, but a path in the variable is kept."""
    if held is not None:
        monkeypatch.setenv("IT", held)
    found = effective(Secret("env:IT", ttl=5), Override())
    assert found.source == Source("env", "IT")
    assert (str(found), found.ttl) == ("env:IT", 5)
    assert found.resolved() is found
    assert len({found, found}) == 1
    string = effective(declare("env:IT"), Override())
    assert string.path == ("a" if held == "prod/db#a" else None)
    given = effective(declare("env:IT#b"), Override())
    assert (given.source, given.path) == (Source("env", "IT"), "b")
    assert effective(Secret("other"), Override()) == Secret("other")


def test_a_variable_may_name_a_configuration_with_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable may hold AppConfig names with spaces."""
    monkeypatch.setenv("IT", "appconfig:My App/prod/Feature flags")
    assert declare("env:IT").source.parts == ("My App", "prod", "Feature flags")

"""Declarations: string grammar, checks of the objects, and how text becomes a value."""

from __future__ import annotations

import base64
import copy
import functools
import json
import math
import pickle
import sys
from typing import TYPE_CHECKING, Any

import jmespath
import jmespath.ast
import pytest
from hypothesis import given, strategies as st

from lambda_secrets import AppConfig, DeclarationError, Parameter, ParameterTree, Secret, Source
from lambda_secrets._declarations import declare, declare_all
from lambda_secrets._sources import Mismatch
from lambda_secrets._values import opaque

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "hunter2-canary"
VERSION = "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"  # the format in AWS's examples

# The string form


def extracted(declaration: Any, raw: Any) -> Any:
    """Return the value that a declaration makes of a backend's answer."""
    return declaration.extract(opaque(raw))


def described(declaration: Any) -> tuple[str, str, str | None]:
    """Return the kind, the name and the path of a declaration."""
    return declaration.source.kind, declaration.source.name, declaration.path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prod/db", ("secret", "prod/db", None)),
        ("prod/db#@", ("secret", "prod/db", "@")),
        ("prod/stripe#keys.live", ("secret", "prod/stripe", "keys.live")),
        ("a+b=c.d@e-f_g/0", ("secret", "a+b=c.d@e-f_g/0", None)),
        ("/leading/slash/", ("secret", "/leading/slash/", None)),
        ("db#a#b", None),
        ('db#`"#"`', ("secret", "db", '`"#"`')),
        ("ssm:/prod/url", ("parameter", "/prod/url", None)),
        ("ssm:url", ("parameter", "url", None)),
        ("ssm:/prod/config#a.b", ("parameter", "/prod/config", "a.b")),
        (
            "ssm:/aws/reference/secretsmanager/prod/db",
            ("parameter", "/aws/reference/secretsmanager/prod/db", None),
        ),
        ("ssm:/prod/app/", ("tree", "/prod/app/", None)),
        ("ssm:/", ("tree", "/", None)),
        ("appconfig:app/env/profile", ("appconfig", "app/env/profile", None)),
        ("appconfig:app/env/profile#flags.new", ("appconfig", "app/env/profile", "flags.new")),
        ("appconfig:my app/env/profile", ("appconfig", "my app/env/profile", None)),
    ],
)
def test_a_string_says_scheme_name_and_path(
    text: str, expected: tuple[str, str, str | None] | None
) -> None:
    """`[scheme:]name[#jmespath]` is split at the first colon and the first number sign."""
    if expected is None:
        with pytest.raises(DeclarationError, match="does not parse"):
            declare(text)
    else:
        assert described(declare(text)) == expected


PARTITIONS = ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-eusc"]


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("path", [None, "user"])
def test_a_secrets_manager_arn_of_any_partition_is_a_secret(
    partition: str, path: str | None
) -> None:
    """An ARN needs no scheme, whatever its partition; its colons and slashes belong to it."""
    arn = f"arn:{partition}:secretsmanager:cn-north-1:123456789012:secret:prod/db+x-AbCdEf"
    text = arn if path is None else f"{arn}#{path}"
    assert described(declare(text)) == ("secret", arn, path)
    assert str(declare(text)) == text


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("scheme", ["", "ssm:"])
@pytest.mark.parametrize("path", [None, "user"])
def test_a_parameter_store_arn_of_any_partition_is_a_parameter(
    partition: str, scheme: str, path: str | None
) -> None:
    """A parameter's ARN is recognized by its service, with or without the scheme."""
    arn = f"arn:{partition}:ssm:us-gov-west-1:123456789012:parameter/prod/url"
    text = scheme + arn if path is None else f"{scheme}{arn}#{path}"
    assert described(declare(text)) == ("parameter", arn, path)
    assert str(declare(text)) == text.removeprefix("ssm:")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:::bucket",
        "arn:aws:secretsmanager",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:",
        "arn:aws:ssm:eu-west-1:123456789012:document/x",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/url:3",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/",
        "arn:",
    ],
)
def test_any_other_arn_is_refused(arn: str) -> None:
    """An ARN that is cut off, versioned, of another service or of a whole path is refused."""
    with pytest.raises(DeclarationError, match="Cannot declare"):
        declare(arn)


@pytest.mark.parametrize(
    ("kind", "arn"),
    [
        (Secret, "arn:aws:ssm:eu-west-1:123456789012:parameter/url"),
        (Parameter, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf"),
    ],
)
def test_an_arn_of_the_other_service_is_refused(kind: Callable[[str], Any], arn: str) -> None:
    """An object refuses an ARN of the other service."""
    with pytest.raises(DeclarationError, match=r"it is not the ARN of a (secret|parameter)\."):
        kind(arn)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "use a non-empty string"),
        ("#user", "use a non-empty string"),
        ("   ", "use a non-empty string"),
        ("ssm:", "use a non-empty string"),
        ("appconfig:", "appconfig:application/environment/profile"),
        ("appconfig:a/b", "appconfig:application/environment/profile"),
        ("appconfig:a/b/c/d", "appconfig:application/environment/profile"),
        ("appconfig:a//c", "use a non-empty string"),
        ("vault:prod/db", "the scheme 'vault' is unknown"),
        ("SSM:/prod/url", "the scheme 'SSM' is unknown"),
        (":prod/db", "the scheme '' is unknown"),
        (" prod/db", "white space"),
        ("prod/db #user", "white space"),
        ("prod/\ndb", "control characters"),
        ("prod/db#", "expression is empty"),
        ("prod/db# ", "expression is empty"),
        ("ssm:url:3", "must not contain ':'; use version="),
        ("ssm:prod/app/", "must begin with '/'"),
        ("ssm:/prod/app/#user", "takes no JMESPath expression"),
        ("ssm:///prod/url", "the scheme is 'ssm:', without '//'. Use 'ssm:/prod/url'."),
        ("arn:aws:s3:::bucket", "it is not the ARN of a secret or parameter."),
        ("env:", "give the name of one environment variable after 'env:'"),
        ("env:A B", "give the name of one environment variable after 'env:'"),
        ("env:DB#a[", "Cannot declare 'env:DB': the JMESPath expression does not parse"),
        ("ssm://prod/url", "the scheme is 'ssm:', without '//'. Use 'ssm:/prod/url'."),
        ("prod/${Stage}/db", "it has a placeholder that was not filled in"),
        ("${Prefix}:db", "it has a placeholder that was not filled in"),
        ("ssm:/${Stage}/url", "it has a placeholder that was not filled in"),
        ("{{resolve:secretsmanager:db}}", "it has a placeholder that was not filled in"),
        ("prod/{{ stage }}/db", "it has a placeholder that was not filled in"),
        ("None", "an environment variable was probably unset"),
        ("None#@", "an environment variable was probably unset"),
        ("ssm:None", "an environment variable was probably unset"),
        ("prod/db#user-name", 'in double quotes, such as "user-name".'),
        ("prod/db#keys.my-key", 'in double quotes, such as keys."my-key".'),
        ("prod/db#hosts[0].host-name", 'in double quotes, such as "host-name".'),
        ("prod/db#hosts[?name=='a'].größe", 'in double quotes, such as "größe".'),
        ("prod/db#contraseña", 'in double quotes, such as "contraseña".'),
        ("prod/db#.user", "at column 1. Drop the extra '.'."),
        ("prod/db#user..name", "at column 6. Drop the extra '.'."),
        ("postgres://app:hunter2@db/orders", "'postgres://…': the scheme 'postgres' is unknown"),
        ("postgres://app:${hunter2@db", "'postgres://…': the scheme 'postgres' is unknown"),
        ("jdbc:postgresql://db?password=h", "'jdbc:postgresql://…': the scheme 'jdbc' is unknown"),
        ("env:https://app:${h@db", "Cannot declare 'env:https://…': use a name or an ARN"),
        (
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf:user",
            "the ECS form ends in three fields, json-key:version-stage:version-id",
        ),
    ],
)
def test_a_wrong_string_is_refused_with_its_problem(text: str, problem: str) -> None:
    """A wrong string raises a `DeclarationError` that names the problem."""
    with pytest.raises(DeclarationError) as raised:
        declare(text)
    assert problem in str(raised.value)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("wrong", [None, 1, b"prod/db", ["prod/db"], ("prod/db",), Secret])
def test_what_is_neither_string_nor_object_is_refused(wrong: Any) -> None:
    """A declaration is a string or one of the four objects."""
    with pytest.raises(DeclarationError, match="expected a string or a declaration object"):
        declare(wrong)


def test_an_object_is_declared_as_it_is() -> None:
    """A declaration object stands for itself."""
    declaration = Secret("prod/db")
    assert declare(declaration) is declaration


@pytest.mark.parametrize(
    "text",
    [
        "prod/db",
        "prod/db#keys.live",
        "ssm:/prod/url",
        "ssm:/prod/url#a[0]",
        "ssm:/prod/app/",
        "appconfig:a/b/c",
        "appconfig:a%2Fb/c/d#e",
    ],
)
def test_a_declaration_is_spelled_as_it_was_declared(text: str) -> None:
    """`str` of a declaration gives its string; `str` of its source leaves out the path."""
    declaration = declare(text)
    assert str(declaration) == text
    assert str(declaration.source) == text.partition("#")[0]
    assert declare(str(declaration)) == declaration


NAMES = st.text("abcXYZ019/_+=.@-", min_size=1)


@given(NAMES, st.sampled_from([None, "@", "a.b", "keys[0]", "a || b"]))
def test_every_secret_name_that_aws_allows_is_taken_as_it_is(name: str, path: str | None) -> None:
    """Any valid secret name is taken as that secret, and its `str` reads back the same."""
    text = name if path is None else f"{name}#{path}"
    declaration = declare(text)
    assert described(declaration) == ("secret", name, path)
    assert declare(str(declaration)) == declaration


@given(st.text("ab:/#@.arnsm pco[]ig'\n", max_size=25))
def test_any_string_is_a_declaration_or_a_declaration_error(text: str) -> None:
    """No string raises any other error, and an accepted one survives a round trip."""
    try:
        declaration = declare(text)
    except DeclarationError:
        return
    assert declare(str(declaration)) == declaration


# The objects


def made(kind: Any, *args: Any, **options: Any) -> Callable[[], Any]:
    """Return a function that makes a declaration, whatever its arguments."""
    return functools.partial(kind, *args, **options)


async def asynchronous(value: Any) -> Any:
    """Be awaited."""
    raise AssertionError


class Asynchronous:
    """Returns a coroutine when called."""

    async def __call__(self, value: Any) -> Any:
        """Be awaited."""
        raise AssertionError

    async def method(self, value: Any) -> Any:
        """Be awaited."""
        raise AssertionError


def test_objects_say_what_a_string_cannot() -> None:
    """Version, stage, label, decryption and depth are part of the source."""
    assert Secret("db", version_id=VERSION, version_stage="AWSPREVIOUS").source == Source(
        "secret", "db", version_id=VERSION, version_stage="AWSPREVIOUS"
    )
    assert Parameter("/url", version=3, decrypt=False).source == Source(
        "parameter", "/url", version=3, decrypt=False
    )
    assert Parameter("/url", label="live").source == Source("parameter", "/url", label="live")
    assert ParameterTree("/app", recursive=False, decrypt=False).source == Source(
        "tree", "/app/", recursive=False, decrypt=False
    )
    assert AppConfig("a", "e", "p").source == Source("appconfig", "a/e/p")


def test_objects_keep_their_arguments() -> None:
    """Each argument can be read back by its name."""
    secret = Secret(
        "db", "a", version_id=VERSION, version_stage="s", transform="json", ttl=5, default=1
    )
    assert (secret.name, secret.path) == ("db", "a")
    assert (secret.version_id, secret.version_stage) == (VERSION, "s")
    assert (secret.transform, secret.ttl, secret.default) == ("json", 5, 1)
    parameter = Parameter("/url", "a", version=2, decrypt=False)
    assert (parameter.name, parameter.path, parameter.version) == ("/url", "a", 2)
    assert (parameter.label, parameter.decrypt) == (None, False)
    tree = ParameterTree("/app", recursive=False)
    assert (tree.prefix, tree.recursive, tree.decrypt, tree.path) == ("/app/", False, True, None)
    config = AppConfig("a/b", "e", "p", "x")
    assert (config.application, config.environment, config.profile) == ("a/b", "e", "p")
    assert config.path == "x"


@pytest.mark.parametrize("given", ["/app", "/app/", "/app//"])
def test_a_prefix_ends_in_one_slash(given: str) -> None:
    """A tree is the same with or without the trailing slash of its prefix."""
    assert ParameterTree(given).source.name == "/app/"


def test_a_slash_inside_an_appconfig_name_is_no_separator() -> None:
    """The source keeps the three parts apart, even if they contain slashes."""
    source = AppConfig("a/b", "c", "d/e").source
    assert source.name == "a%2Fb/c/d%2Fe"
    assert source.parts == ("a/b", "c", "d/e")


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (made(Secret, ""), "use a non-empty string"),
        (made(Secret, " "), "use a non-empty string"),
        (made(Secret, None), "an environment variable was probably unset"),
        (made(Secret, {"password": "p"}), "Cannot declare secret: use a non-empty string"),
        (made(Secret, "db#user"), "a name must not contain '#'"),
        (made(Secret, "pg://app:p#${w@db"), "Cannot declare secret 'pg://…': use a name or an ARN"),
        (made(Secret, "ssm:/url"), "string form of another kind"),
        (made(Secret, "appconfig:a/b/c"), "string form of another kind"),
        (made(Secret, "db", ""), "expression is empty"),
        (made(Secret, "db", 5), "the path must be a string (JMESPath), got int."),
        (made(Secret, "db", version_id=""), "version_id must be 32 to 64 characters long"),
        (made(Secret, "db", version_id=3), "staging label), not 3."),
        (made(Secret, "db", version_stage=""), "version_stage must be a non-empty string"),
        (made(Parameter, ""), "use a non-empty string"),
        (made(Parameter, "/app/"), "Use ParameterTree"),
        (made(Parameter, "/url:3"), "must not contain ':'; use version="),
        (
            made(Parameter, "ssm:/url"),
            "drop the 'ssm:' prefix: objects take the bare name, here '/url'.",
        ),
        (made(ParameterTree, "ssm:/app/"), "drop the 'ssm:' prefix"),
        (made(AppConfig, "appconfig:a", "e", "p"), "drop the 'appconfig:' prefix"),
        (made(Parameter, "/url", label=""), "label must be a non-empty string"),
        (made(Parameter, "/url", version=0), "version must be a whole number ≥ 1, not 0"),
        (made(Parameter, "/url", version=True), "version must be a whole number ≥ 1, not True"),
        (made(Parameter, "/url", version="3"), "version must be a whole number ≥ 1, not '3'"),
        (made(Parameter, "/url", version=1.0), "version must be a whole number ≥ 1, not 1.0"),
        (made(Parameter, "/url", version=1, label="a"), "give version or label, not both"),
        (made(Parameter, "/url", decrypt=None), "decrypt must be True or False, not None"),
        (made(Parameter, "/url", decrypt=1), "decrypt must be True or False, not 1"),
        (made(ParameterTree, ""), "use a non-empty string"),
        (made(ParameterTree, "app/"), "must begin with '/'"),
        (
            made(ParameterTree, "arn:aws:ssm:eu-west-1:123456789012:parameter/app/"),
            "an ARN cannot be read by path",
        ),
        (made(ParameterTree, "/app/", recursive="no"), "recursive must be True or False, not 'no'"),
        (made(ParameterTree, "/app/", recursive=print), "not <built-in function print>"),
        (made(ParameterTree, "/app/", decrypt=0), "decrypt must be True or False, not 0"),
        (made(AppConfig, "", "e", "p"), "use a non-empty string"),
        (made(AppConfig, "a", "e", None), "an environment variable was probably unset"),
        (made(AppConfig, "a", "e#", "p"), "a name must not contain '#'"),
        (made(Secret, "db", version_id="v1"), "version_id must be 32 to 64 characters long"),
        (made(Secret, "db", version_id="v" * 31), "version_id must be 32 to 64 characters"),
        (made(Secret, "db", version_id="v" * 65), "version_id must be 32 to 64 characters"),
        (made(Secret, "db", version_id=["v"]), "version_id must be 32 to 64 characters"),
        (made(Secret, "db", version_stage=["v"]), "version_stage must be a non-empty string"),
        (made(Secret, "${db}"), "it has a placeholder that was not filled in"),
        (made(Secret, "None"), "an environment variable was probably unset"),
        (made(Secret, "db", pending="yes"), "pending must be True or False, not 'yes'"),
        (made(Secret, "db", pending=1), "pending must be True or False, not 1"),
        (made(Secret, "db", pending=True, version_stage="a"), "pending=True needs the current"),
        (made(Secret, "db", build="pool"), "build must be a callable, not str"),
        (made(Secret, "db", build=len, close=5), "close must be a callable, not int"),
        (made(Secret, "db", close=print), "close= needs build="),
        (made(Secret, "db", build=asynchronous), "build must be a plain function, not a coroutine"),
        (made(Secret, "db", build=staticmethod(asynchronous)), "not a coroutine function"),
        (made(Parameter, "/url", build=Asynchronous()), "not a coroutine function: an async pool"),
        (made(ParameterTree, "/a", build=functools.partial(asynchronous, 1)), "plain function"),
        (made(AppConfig, "a", "e", "p", build=Asynchronous().method), "plain function"),
        (
            made(Secret, "db", build=len, close=asynchronous),
            "close must be a plain function, not a coroutine function: an async pool",
        ),
        (made(Secret, "db", transform="yaml"), "or a callable, not 'yaml'"),
        (made(Secret, "db", transform=5), "or a callable, not int"),
        (made(Secret, "db", transform=["json"]), "or a callable, not list"),
        (
            made(Secret, "db", transform=asynchronous),
            "transform must be a plain function, not a coroutine function.",
        ),
        (made(ParameterTree, "/app/", transform=""), "or a callable, not ''"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_problem(
    call: Callable[[], Any], problem: str
) -> None:
    """A wrong argument raises a `DeclarationError` that names the problem."""
    with pytest.raises(DeclarationError) as raised:
        call()
    assert problem in str(raised.value)


@pytest.mark.parametrize("ttl", [-1, -0.001, math.nan, -math.inf, True, False, "60", "", [], b"1"])
@pytest.mark.parametrize(
    "declared",
    [
        lambda ttl: Secret("db", ttl=ttl),
        lambda ttl: Parameter("/url", ttl=ttl),
        lambda ttl: ParameterTree("/app/", ttl=ttl),
        lambda ttl: AppConfig("a", "e", "p", ttl=ttl),
    ],
)
def test_a_ttl_that_is_no_number_of_seconds_is_refused(
    declared: Callable[[Any], Any], ttl: Any
) -> None:
    """A TTL that is negative, NaN, a bool or not a number is refused when declared."""
    with pytest.raises(DeclarationError, match="must be a number of seconds"):
        declared(ttl)


@pytest.mark.parametrize("ttl", [0, 0.0, 1, 2.5, 10**9, math.inf])
def test_a_ttl_from_zero_to_infinity_is_taken(ttl: float) -> None:
    """Whole numbers, fractions, zero and infinity are numbers of seconds."""
    assert Secret("db", ttl=ttl).ttl == ttl


@pytest.mark.parametrize(
    "call",
    [
        made(Secret, "db", "a", "v1"),
        made(Parameter, "/url", "a", 1),
        made(ParameterTree, "/app/", "a"),
        made(AppConfig, "a", "e", "p", "x", "json"),
    ],
)
def test_options_are_keyword_only(call: Callable[[], Any]) -> None:
    """Only the names and the path are positional."""
    with pytest.raises(TypeError, match="positional"):
        call()


# Paths


@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("a[", 3),
        ("a..b", 3),
        ("a b", 3),
        ("keys.", 6),
        ("`x", 1),
        ('"abc', 1),
        ("a-b", 2),
        ("$", 1),
        ("foo(", 5),
        ("a[b]", 3),
        ("foo.foo(@)", 5),
        ("a || nope (@)", 6),
        ("length(nope(@))", 8),
        ("é", 1),
    ],
)
def test_a_path_that_does_not_parse_is_pointed_at(path: str, column: int) -> None:
    """The message shows the expression and a caret at the column that it names."""
    with pytest.raises(DeclarationError) as raised:
        Secret("db", path)
    first, shown, caret = str(raised.value).splitlines()
    assert f"at column {column}." in first
    assert shown == f"  {path}"
    assert caret == f"  {' ' * (column - 1)}^"


def test_a_path_too_deep_for_the_parser_is_refused() -> None:
    """An expression nested absurdly deep is a `DeclarationError`, or does not fit the value."""
    with pytest.raises(DeclarationError, match="does not parse"):
        Secret("db", "(" * 5_000)
    found = extracted(Secret("db", "a" + " || a" * 5_000), "{}")
    assert isinstance(found, Mismatch)
    assert "RecursionError" in found.reason


EXPRESSIONS = [
    *("@", "a[0:2]", "a[::-1]", "a[*].b", "*.b", "a[].b", "a[?b > `1`] | [0]", "a[-1]", '"a".b'),
    *("keys(@)", "sort_by(a, &b)", "{x: a, y: 'z'}", "[a, b]", "a || b", "a && b", "!a", "[]"),
    *("a | b", "a.b", "max_by(a[:2], &b).b"),
]


@pytest.mark.parametrize("path", EXPRESSIONS)
def test_whatever_jmespath_can_say_can_be_declared(path: str) -> None:
    """Trap: a slice has numbers where other expressions have parts."""
    document = {"a": [{"b": 1}, {"b": 2}, {"b": 3}], "b": {"b": 5}}
    found = extracted(Secret("db", path), json.dumps(document))
    expected = jmespath.search(path, document)
    assert found == expected or (isinstance(found, Mismatch) and expected is None)


def test_the_expressions_above_are_of_every_kind() -> None:
    """None of the parser's kinds of nodes is left out."""
    nodes = [jmespath.compile(path).parsed for path in EXPRESSIONS]
    for node in nodes:  # grows in the loop
        nodes += [child for child in node["children"] if isinstance(child, dict)]
    kinds = {name.removesuffix("_node") for name in vars(jmespath.ast) if name[:1] != "_"}
    assert {node["type"] for node in nodes} == kinds


def test_a_path_without_the_package_that_reads_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without jmespath plain paths work, and for others the error names the package."""
    monkeypatch.setitem(sys.modules, "jmespath", None)
    assert Secret("db", "a.b").path == "a.b"
    assert extracted(Secret("db", '"a-b"'), '{"a-b": 1}') == 1
    with pytest.raises(DeclarationError, match="needs the package jmespath") as raised:
        Secret("db", "a[0]")
    assert raised.value.__cause__ is None


WORDS = ["a", "b0", "_c", "é", "0", "-1", "`1`", "'x'", '"q"', "length(", "nope("]
MARKS = [".", "[", "]", "*", "@", "|", "||", "&", "(", ")", "{", "}", ":", ",", "==", "!", " "]
TOKENS = [*WORDS, *MARKS, "`", "'", "\n"]


@pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")
@given(st.lists(st.sampled_from(TOKENS), max_size=8).map("".join))
def test_any_path_compiles_or_is_a_declaration_error(path: str) -> None:
    """No expression raises any other error, and a valid one never raises on a value."""
    try:
        declaration = Secret("db", path)
    except DeclarationError:
        return
    for text in ('{"a": {"b0": [1, {"a": null}]}}', "[1, 2]", '"x"', "5", "no JSON"):
        extracted(declaration, text)


DOCUMENTS = [
    {"a": {"b": [1, 2]}, "b": None, "_c": False},
    {"a": [{"b": 1}, {"b": 2}]},
    {"a": "text"},
    [{"a": 1}],
    "a",
    3,
    None,
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("path", ["@", "a", "a.b", "b", "_c", "a.b.c", "A", "a0"])
def test_plain_paths_find_what_jmespath_finds(path: str, document: Any) -> None:
    """A dotted path of identifiers, which needs no parser, finds the same as in JMESPath."""
    found = extracted(Secret("db", path), json.dumps(document))
    expected = jmespath.search(path, document)
    if expected is None:
        assert isinstance(found, Mismatch)
        assert found.absent
    else:
        assert found == expected


# Values


def test_a_source_alone_gives_what_was_read() -> None:
    """Without path and transform a value is the text, the bytes or the list itself."""
    assert extracted(Secret("db"), " text ") == " text "
    assert extracted(Secret("db"), b"\x00\xff") == b"\x00\xff"
    assert extracted(Parameter("/hosts"), ["a", "b"]) == ["a", "b"]
    assert extracted(ParameterTree("/app/"), {"a/b": "1", "hosts": ["c"]}) == {
        "a/b": "1",
        "hosts": ["c"],
    }


@pytest.mark.parametrize("found", [0, "", [], {}, False, 0.0, "null"])
def test_falsy_values_are_values(found: Any) -> None:
    """A falsy result of a path is a value like any other."""
    assert extracted(Secret("db", "a"), json.dumps({"a": found})) == found
    assert extracted(Secret("db", "@"), json.dumps(found)) == found


def test_json_null_matched_nothing() -> None:
    """A path that yields null counts as absent, like one that matches nothing."""
    for text in ('{"a": null}', "{}", "null", '["a"]'):
        found = extracted(Secret("db", "a"), text)
        assert isinstance(found, Mismatch)
        assert found.absent
    null = extracted(Secret("db", "@"), "null")
    assert isinstance(null, Mismatch)
    assert null.absent


@pytest.mark.parametrize("text", ['\ufeff{"a": 1}', '\ufeff{"a": 1}'.encode()])
def test_a_byte_order_mark_is_no_part_of_json(text: Any) -> None:
    """Editors on Windows may begin a file with a byte order mark."""
    assert extracted(Secret("db", "a"), text) == 1
    assert extracted(Secret("db", transform="json"), text) == {"a": 1}


def test_none_is_told_from_other_things() -> None:
    """An unset variable read with `os.environ.get` gets a message of its own (case 34)."""
    with pytest.raises(DeclarationError, match=r"got None. .* the environment variable is unset"):
        declare_all({"it": None})  # type: ignore[dict-item]  # wrong on purpose


def test_no_declarations_are_declarations() -> None:
    """An empty mapping is accepted."""
    assert declare_all({}) == {}


def test_json_in_bytes_is_parsed() -> None:
    """A path works on a binary secret whose bytes are JSON."""
    assert extracted(Secret("db", "a"), b'{"a": "\xc3\xa9"}') == "\u00e9"


def test_a_path_takes_an_item_of_a_list() -> None:
    """A path can index the items of a StringList."""
    assert extracted(Parameter("/hosts", "[1]"), ["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("transform", "raw", "value"),
    [
        ("json", '{"a": 1}', {"a": 1}),
        ("json", b"[1]", [1]),
        ("json", "null", None),
        ("binary", base64.b64encode(b"\x00\xff").decode(), b"\x00\xff"),
        ("binary", base64.b64encode(b"\x00\xff"), b"\x00\xff"),
        ("binary", " aGVs\nbG8=\n", b"hello"),
        ("binary", "", b""),
        (str.upper, "text", "TEXT"),
        (len, "text", 4),
        (lambda _: None, "text", None),
    ],
)
def test_a_transform_makes_the_value(transform: Any, raw: Any, value: Any) -> None:
    """`json` parses, `binary` decodes base64 text, a callable is applied."""
    assert extracted(Secret("db", transform=transform), raw) == value


def test_a_transform_comes_before_the_path() -> None:
    """The path applies to the transform's result, which is parsed if it is text."""
    inner = base64.b64encode(b'{"a": 1}').decode()
    assert extracted(Secret("db", "a", transform="json"), '{"a": 1}') == 1
    assert extracted(Secret("db", "a", transform="binary"), inner) == 1
    stripped = Secret("db", "a", transform=lambda text: text.strip("#"))
    assert extracted(stripped, '#{"a": 1}#') == 1
    assert extracted(Secret("db", "a", transform=lambda text: {"a": text}), "x") == "x"


def test_a_transform_may_change_the_list_that_it_gets() -> None:
    """A StringList that a transform empties is still whole for others, and at the next run."""
    emptied = Parameter("/hosts", transform=lambda hosts: [hosts.pop(), hosts.pop()])
    raw = ["a", "b"]
    assert extracted(emptied, raw) == extracted(emptied, raw) == ["b", "a"]
    assert raw == ["a", "b"]


def test_a_tree_is_transformed_value_by_value() -> None:
    """A tree's transform applies to each parameter below it."""
    tree = ParameterTree("/app/", transform="json")
    assert extracted(tree, {"a": "1", "b/c": '{"d": 2}'}) == {"a": 1, "b/c": {"d": 2}}


def failing(_: str) -> Any:
    """Raise an error that quotes the value."""
    raise ValueError(CANARY)


@pytest.mark.parametrize(
    ("declaration", "raw", "reason"),
    [
        (Secret("db", "a"), CANARY, "it is not JSON (line 1, column 1)"),
        (Secret("db", "a"), f'{{"a":\n {CANARY}', "it is not JSON (line 2, column 2)"),
        (Secret("db", "a"), b"\xff\xfe\xff" + CANARY.encode(), "it is not JSON"),
        (Secret("db", "a"), "[" * 100_000, "it is not JSON"),
        (Secret("db", transform="json"), CANARY, "it is not JSON (line 1, column 1)"),
        (Secret("db", "a", transform="json"), CANARY, "it is not JSON (line 1, column 1)"),
        (Parameter("/x", transform="json"), [CANARY], "it is not JSON"),
        (Secret("db", transform="binary"), CANARY, "it is not base64 text"),
        (Secret("db", transform="binary"), "aGVsbG8", "it is not base64 text"),
        (Secret("db", transform="binary"), "\u00e9", "it is not base64 text"),
        (Parameter("/x", transform="binary"), [CANARY], "it is not base64 text"),
        (
            Secret("db", transform=failing),
            CANARY,
            "its transform raised ValueError at test_declarations.py:",
        ),
        (
            Secret("db", "length(a)"),
            '{"a": 5}',
            "the JMESPath expression does not fit the value (JMESPathTypeError)",
        ),
        (ParameterTree("/a/", transform="json"), {"b/c": CANARY}, "b/c: it is not JSON"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_not_shown(
    declaration: Any, raw: Any, reason: str
) -> None:
    """The reason is returned, since an exception would carry the value along."""
    mismatch = extracted(declaration, raw)
    assert isinstance(mismatch, Mismatch)
    assert mismatch.reason.startswith(reason)
    assert not mismatch.absent
    assert CANARY not in mismatch.reason


# Frozen, hashable, safe to log


@pytest.mark.parametrize(
    "declaration",
    [
        Secret("db", "a", version_id=VERSION),
        Parameter("/url", label="l"),
        ParameterTree("/app/"),
        AppConfig("a", "e", "p"),
        Secret("db").source,
    ],
)
def test_declarations_are_frozen(declaration: Any) -> None:
    """Nothing can be set on a declaration or its source, and nothing deleted."""
    for change in (setattr, lambda *target: delattr(*target[:2])):
        for field in ("ttl", "name", "source", "new"):
            with pytest.raises(AttributeError, match="is read-only"):
                change(declaration, field, 1)


def test_equal_declarations_are_one_key() -> None:
    """Declarations with equal contents compare and hash equal; any option makes a difference."""
    assert Secret("db", "a", ttl=1) == Secret("db", "a", ttl=1)
    assert len({Secret("db", "a"), Secret("db", "a"), declare("db#a")}) == 1
    different = [
        Secret("db"),
        Secret("db", "a"),
        Secret("db", ttl=1),
        Secret("db", default=None),
        Secret("db", transform="json"),
        Secret("db", version_id=VERSION),
        Secret("db", version_stage="v"),
        Parameter("db"),
        Parameter("db", version=1),
        Parameter("db", label="1"),
        Parameter("db", decrypt=False),
        ParameterTree("/db"),
        ParameterTree("/db", recursive=False),
    ]
    assert len(set(different)) == len(different)
    assert Secret("db") != "db"


def test_different_versions_never_share_a_source() -> None:
    """Trap: options missing from the cache key, so that asking for version B returned A."""
    declarations = [
        Secret("s"),
        Secret("s", version_id=VERSION),
        Secret("s", version_id=VERSION[::-1]),
        Secret("s", version_stage="a"),
        Parameter("s"),
        Parameter("s", version=1),
        Parameter("s", version=2),
        Parameter("s", label="1"),
        Parameter("s", decrypt=False),
        Parameter("x/s"),
        ParameterTree("/s"),
        ParameterTree("/s", recursive=False),
        ParameterTree("/s", decrypt=False),
        AppConfig("s", "s", "s"),
    ]
    sources = {declaration.source for declaration in declarations}
    assert len(sources) == len(declarations)
    assert len({str(source) for source in sources}) == len(declarations)


def test_path_transform_ttl_and_default_read_the_same_source() -> None:
    """Path, transform, TTL and default are not part of the source."""
    declarations = [Secret("s"), Secret("s", "a", transform="json", ttl=1, default=2), declare("s")]
    assert len({declaration.source for declaration in declarations}) == 1


class Unhashable:
    """A transform without a hash."""

    __hash__ = None  # type: ignore[assignment]  # under test

    def __eq__(self, other: object) -> bool:
        raise AssertionError

    def __call__(self, text: str) -> str:
        """Never be called."""
        raise AssertionError

    def __repr__(self) -> str:
        return CANARY  # pragma: no cover - never shown


def test_what_has_no_hash_can_be_declared() -> None:
    """A declaration is hashable even if its default or its transform is not."""
    assert hash(Secret("db", default={"a": []})) == hash(Secret("db", default={}))
    assert isinstance(hash(Secret("db", transform=Unhashable())), int)


def test_a_repr_is_safe_to_log() -> None:
    """A repr shows the kind and the string; never a default or a callable."""
    transforms: list[Any] = [functools.partial(str.replace, CANARY), Unhashable()]
    for transform in transforms:
        whole = Secret("db", "a", version_id=VERSION, transform=transform, ttl=5, default=CANARY)
        assert repr(whole) == f"<Secret db#a (version_id={VERSION})>"
    assert repr(declare("ssm:/app/")) == "<ParameterTree ssm:/app/>"
    assert repr(declare("prod/db").source) == "<Source prod/db>"


def test_options_that_no_string_can_say_are_spelled_in_brackets() -> None:
    """`str` shows the options, so errors and logs tell two versions apart."""
    assert str(Parameter("/url", version=3)) == "ssm:/url (version=3)"
    assert str(Parameter("/url", "a", label="l", decrypt=False)) == (
        "ssm:/url#a (label=l, decrypt=False)"
    )
    assert str(ParameterTree("/a", recursive=False)) == "ssm:/a/ (recursive=False)"
    assert str(Secret("s", version_id=VERSION, version_stage="b")) == (
        f"s (version_id={VERSION}, version_stage=b)"
    )


@pytest.mark.parametrize(
    ("declaration", "versioned"),
    [
        (Secret("s"), False),
        (Secret("s", version_id=VERSION), True),
        (Secret("s", version_stage="a"), True),
        (Parameter("s"), False),
        (Parameter("s", version=1), True),
        (Parameter("s", label="a"), True),
        (ParameterTree("/s", recursive=False), False),
    ],
)
def test_a_source_tells_whether_it_is_one_version(declaration: Any, versioned: bool) -> None:
    """A version, stage or label makes a source versioned."""
    assert declaration.source.versioned is versioned


def test_a_declaration_is_copied_as_itself_and_never_pickled() -> None:
    """A frozen declaration is its own copy; a pickle might hold a secret default."""
    declaration = Secret("db", default=CANARY)
    assert copy.copy(declaration) is declaration
    assert copy.deepcopy({"a": declaration})["a"] is declaration
    with pytest.raises(TypeError, match="Cannot pickle Secret"):
        pickle.dumps(declaration)


# Mappings


def test_a_mapping_declares_each_of_its_names() -> None:
    """Strings and objects can be mixed; the order is kept."""
    declared = declare_all({"b": "prod/db#a", "a": Secret("prod/db")})
    assert list(declared) == ["b", "a"]
    assert declared == {"b": Secret("prod/db", "a"), "a": Secret("prod/db")}


def test_a_wrong_declaration_is_named() -> None:
    """The error names the wrong one among many declarations, and has no cause."""
    with pytest.raises(DeclarationError) as raised:
        declare_all({"good": "prod/db", "bad": "vault:x"})
    assert str(raised.value).startswith("'bad': Cannot declare 'vault:x'")
    assert raised.value.__context__ is None


@pytest.mark.parametrize("name", ["", None, 1, b"db", ("db",)])
def test_a_name_is_a_non_empty_string(name: Any) -> None:
    """A declared name that is empty or not a string is refused."""
    with pytest.raises(DeclarationError, match="must be a non-empty string"):
        declare_all({name: "prod/db"})


@pytest.mark.parametrize("wrong", ["prod/db", ["prod/db"], None, 5, {"prod/db"}])
def test_declarations_are_a_mapping(wrong: Any) -> None:
    """Anything that is not a mapping is refused."""
    with pytest.raises(DeclarationError, match="expected a mapping"):
        declare_all(wrong)

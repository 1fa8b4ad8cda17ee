"""Behaviour that all backends share: values, versions, refusals, many reads, partial failures."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    BackendError,
    Parameter,
    ParameterTree,
    ResolutionError,
    Secret,
    SecretNotFoundError,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._declarations import declare
from tests.contract.aws import BYTES, FLAGS, LARGE, ODD

if TYPE_CHECKING:
    from awslambdaric.lambda_context import LambdaContext

    from lambda_secrets import Fetched
    from lambda_secrets._secret import Declaration
    from tests.contract.subjects import Subject


def read(subject: Subject, *declarations: str | Declaration) -> list[Any]:
    """Resolve declarations in one round, with an empty cache; return their values."""
    clear_cache()
    declared = {f"d{n}": declaration for n, declaration in enumerate(declarations)}
    return list(resolve_secrets(declared, backend=subject.backend, timeout=10).reveal().values())


def leaf_of(subject: Subject, declaration: str | Declaration) -> ResolutionError:
    """Return the error of the one secret that cannot be read."""
    with pytest.raises(ResolutionError) as caught:
        read(subject, declaration)
    leaf = caught.value.failures["d0"]
    assert type(caught.value) is type(leaf)
    return leaf


def reads(subject: Subject, declaration: str | Declaration) -> bool:
    """Return whether the backend reads this kind; if not, its error must name "auto" and "sdk"."""
    if declare(declaration).source.kind in subject.kinds:
        return True
    error = leaf_of(subject, declaration)
    assert type(error) is BackendError
    assert '"auto"' in str(error)
    assert '"sdk"' in str(error)
    return False


def no_value_of(subject: Subject) -> type[ResolutionError]:
    """Return the backend's error class for a missing secret."""
    return SecretNotFoundError if subject.explains else BackendError


def test_secrets_are_read(subject: Subject) -> None:
    """Text, bytes, 64 KiB of Unicode and a name with every allowed character are read unchanged."""
    assert read(subject, "text", "binary", "large", ODD) == ["  as it is\n", BYTES, LARGE, "odd"]


def test_paths_lead_into_json(subject: Subject) -> None:
    """The whole document, a key, a falsy value and a JMESPath expression cost one fetch."""
    events: list[Fetched] = []
    secrets = resolve_secrets(
        {"all": "json#@", "port": "json#port", "keys": "json#nested.keys[-1]", "user": "json#user"},
        backend=subject.backend,
        observer=events.append,  # type: ignore[arg-type]  # every event here is a Fetched
    )
    assert secrets.reveal() == {
        "all": {"user": "ü", "port": 0, "nested": {"keys": ["a", "b"]}, "none": None},
        "port": 0,
        "keys": "b",
        "user": "ü",
    }
    assert [(event.source, event.outcome) for event in events] == [("json", "ok")]


def test_values_are_transformed(subject: Subject) -> None:
    """JSON, base64 and callable transforms apply to text, and a callable to bytes too."""
    assert read(
        subject,
        Secret("json", transform="json"),
        Secret("base64", transform="binary"),
        Secret("text", transform=str.strip),
        Secret("binary", transform=len),
    )[1:] == [b"\x00\x01\x02\xff", "as it is", 256]


def test_parameters_are_read(subject: Subject) -> None:
    """A parameter is read by a name with or without a slash, as text or as a field of its JSON."""
    if reads(subject, "ssm:/text"):
        assert read(subject, "ssm:/text", "ssm:plain", "ssm:/json#port") == ["text", "plain", 0]


def test_a_string_list_is_a_list(subject: Subject) -> None:
    """A StringList is a list of strings; a backend without lists has only its text."""
    if reads(subject, "ssm:/list"):
        assert read(subject, "ssm:/list") == [["a", "b", "c"] if subject.lists else "a,b,c"]


def test_parameter_store_refers_to_secrets(subject: Subject) -> None:
    """A name below `/aws/reference/secretsmanager/` is a secret; a missing one fails alone."""
    reference = "ssm:/aws/reference/secretsmanager/"
    if not reads(subject, f"{reference}many/01"):
        return
    if not subject.references:
        assert type(leaf_of(subject, f"{reference}many/01")) is SecretNotFoundError
        return
    assert read(subject, f"{reference}many/01", "ssm:/text") == ["value 1", "text"]
    declared = {"bad": f"{reference}missing", "good": f"{reference}many/01", "text": "ssm:/text"}
    with pytest.raises(no_value_of(subject)) as caught:
        resolve_secrets(declared, backend=subject.backend)
    assert list(caught.value.failures) == ["bad"]


def test_a_tree_is_a_dict_by_the_rest_of_the_name(subject: Subject) -> None:
    """A tree holds everything below a path, or its first level; an empty path does not exist."""
    if reads(subject, "ssm:/tree/"):
        assert read(subject, "ssm:/tree/", ParameterTree("/tree", recursive=False)) == [
            {"a": "1", "deep/b": "2"},
            {"a": "1"},
        ]
        assert type(leaf_of(subject, "ssm:/no/tree/")) is SecretNotFoundError


def test_configurations_are_read(subject: Subject) -> None:
    """A configuration is read as text or as a field of its JSON."""
    declared = ("appconfig:shop/prod/flags", "appconfig:shop/prod/flags#dark.enabled")
    assert read(subject, *declared) == [FLAGS, True]


@pytest.mark.parametrize("order", [1, -1], ids=["old-first", "new-first"])
def test_versions_of_a_secret_are_values_of_their_own(subject: Subject, order: int) -> None:
    """Each version and stage in one handler gets its own value, in any order, cached or not."""
    if not subject.versions:
        previous = Secret("rotated", version_stage="AWSPREVIOUS")
        assert type(leaf_of(subject, previous)) is SecretNotFoundError
        return
    expected: dict[str | Declaration, str] = {
        Secret("rotated", version_id=subject.versions[1]): "one",
        Secret("rotated", version_id=subject.versions[2]): "two",
        Secret("rotated", version_stage="AWSPREVIOUS"): "one",
        Secret("rotated", version_stage="AWSCURRENT"): "two",
        "rotated": "two",
    }
    wanted = list(expected)[::order]
    values = [expected[declaration] for declaration in wanted]
    assert read(subject, *wanted) == values
    for some in (wanted, wanted[:2], wanted[1:]):
        declared = {f"d{n}": declaration for n, declaration in enumerate(some)}
        cached = resolve_secrets(declared, backend=subject.backend)
        assert list(cached.reveal().values()) == [expected[declaration] for declaration in some]
    for first, second in itertools.permutations(wanted[:3], 2):
        assert read(subject, first) + read(subject, second) == [expected[first], expected[second]]


@pytest.mark.parametrize("order", [1, -1], ids=["old-first", "new-first"])
def test_versions_of_a_parameter_are_values_of_their_own(subject: Subject, order: int) -> None:
    """Versions, a label and the latest value of one parameter are never mixed up."""
    if not reads(subject, "ssm:/rotated"):
        return
    if not subject.versions:
        assert type(leaf_of(subject, Parameter("/rotated", version=1))) is SecretNotFoundError
        return
    expected: dict[str | Declaration, str] = {
        Parameter("/rotated", version=1): "one",
        Parameter("/rotated", label="live"): "two",
        Parameter("/rotated", version=3): "three",
        "ssm:/rotated": "three",
    }
    wanted = list(expected)[::order]
    assert read(subject, *wanted) == [expected[declaration] for declaration in wanted]
    for declaration in wanted:
        assert read(subject, declaration) == [expected[declaration]]


@pytest.mark.parametrize(
    "missing",
    [
        "missing",
        "ssm:/missing",
        "appconfig:shop/prod/missing",
        Secret("rotated", version_stage="NOSUCH"),
        Parameter("/rotated", version=9),
    ],
    ids=str,
)
def test_what_does_not_exist_is_not_found(subject: Subject, missing: str | Declaration) -> None:
    """A missing name, version or stage fails with its own error, under the declared name."""
    if not reads(subject, missing):
        return
    error = leaf_of(subject, missing)
    told = subject.explains and (subject.tells_configurations or "appconfig" not in str(missing))
    assert type(error) is (SecretNotFoundError if told else BackendError)
    assert (error.name, error.source) == ("d0", str(missing))
    assert error.backend


def test_a_default_stands_in_only_for_what_is_known_to_be_missing(subject: Subject) -> None:
    """A default is used if the backend knows that a secret is missing, not if it may be denied."""
    with_default = Secret("missing", default="d")
    if subject.explains:
        assert read(subject, with_default) == ["d"]
    else:
        assert type(leaf_of(subject, with_default)) is BackendError


def test_what_is_denied_is_denied(subject: Subject) -> None:
    """A denied secret is not a missing one: no default is used; the error says what to allow."""
    assert type(leaf_of(subject, "denied")) is (
        AccessDeniedError if subject.denies else no_value_of(subject)
    )
    if subject.denies:
        error = leaf_of(subject, Secret("denied", default="d"))
        assert type(error) is AccessDeniedError
        assert "GetSecretValue" in str(error)
        if reads(subject, "ssm:/denied"):
            assert type(leaf_of(subject, "ssm:/denied")) is AccessDeniedError


def test_many_are_read_at_once(subject: Subject) -> None:
    """Thirty secrets, or three and thirteen parameters, each get their own value in one round."""
    secrets = [f"many/{n:02}" for n in range(30)]
    assert read(subject, *secrets) == [f"value {n}" for n in range(30)]
    if "parameter" in subject.kinds:
        parameters = [f"ssm:/many/{n:02}" for n in range(13)]
        assert read(subject, *secrets[:3], *parameters) == [
            *(f"value {n}" for n in range(3)),
            *(f"value {n}" for n in range(13)),
        ]


def test_one_bad_among_good_fails_alone(subject: Subject) -> None:
    """One error reports every failure, and the good values are kept: they are not fetched again."""
    declared = {"a": "text", "bad": "missing", "b": "many/01", "worse": "missing/too"}
    clear_cache()
    events: list[Any] = []
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets(declared, backend=subject.backend, observer=events.append)
    assert sorted(caught.value.failures) == ["bad", "worse"]
    assert sorted(event.source for event in events) == sorted(declared.values())
    events.clear()
    good = {"a": "text", "b": "many/01"}
    secrets = resolve_secrets(good, backend=subject.backend, observer=events.append)
    assert list(secrets.reveal().values()) == ["  as it is\n", "value 1"]
    assert events == []


def test_one_denied_among_good_fails_alone(subject: Subject) -> None:
    """If a call for several secrets is denied for one of them, the others still arrive."""
    names = [f"many/{n:02}" for n in range(9)]
    if "parameter" in subject.kinds:
        names += [*(f"ssm:/many/{n:02}" for n in range(9)), "ssm:/denied"]
    declared: dict[str, str | Declaration] = {name: name for name in [*names, "denied"]}
    clear_cache()
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets(declared, backend=subject.backend)
    assert set(caught.value.failures) == {name for name in declared if "denied" in name}


def test_a_rotated_secret_is_read_anew(subject: Subject, context: LambdaContext) -> None:
    """Within the TTL the old value is served; `refresh()` and `clear_cache()` bring the new one."""

    @inject_secrets({"it": "turning"}, backend=subject.backend)
    def handler(_: object, context: Any) -> str:
        value: str = context.secrets.it
        return value

    subject.rotate("turning", "first")
    assert handler({}, context) == "first"
    subject.rotate("turning", "second")
    assert handler({}, context) == "first"
    handler.secrets.refresh()
    assert handler({}, context) == "second"
    subject.rotate("turning", "third")
    clear_cache()
    assert handler({}, context) == "third"


def test_cached_values_cost_no_fetch(subject: Subject) -> None:
    """A second read of the same source through the same backend comes from the cache."""
    clear_cache()
    events: list[Any] = []
    for name in ("first", "second"):
        resolved = resolve_secrets({name: "text"}, backend=subject.backend, observer=events.append)
        assert resolved[name] == "  as it is\n"
    assert [event.outcome for event in events] == ["ok"]


def test_a_ttl_of_zero_fetches_each_time(subject: Subject) -> None:
    """A value with a TTL of 0 is read at each use; its neighbour with a longer TTL is not."""
    clear_cache()
    events: list[Any] = []
    declared: dict[str, str | Declaration] = {
        "never": Secret("text", ttl=0),
        "long": "many/01",
    }
    for _ in range(3):
        resolve_secrets(declared, backend=subject.backend, observer=events.append)
    assert sorted(event.source for event in events) == ["many/01", "text", "text", "text"]


def test_a_forced_fetch_answers_every_source(subject: Subject) -> None:
    """Forced or not, a fetch answers each source with a value or an error, and nothing else."""
    sources = [declare(name).source for name in ("text", "missing", "binary")]
    for fresh in (True, False):
        answers = subject.backend.fetch(sources, timeout=10, fresh=fresh)
        assert set(answers) == set(sources)
        assert isinstance(answers[sources[1]], ResolutionError)


def test_threads_read_at_the_same_time(subject: Subject) -> None:
    """Concurrent rounds of one backend keep their values apart."""
    clear_cache()
    results: dict[int, Any] = {}

    def work(n: int) -> None:
        declared = {"a": f"many/{n:02}", "b": f"many/{n + 8:02}"}
        results[n] = list(resolve_secrets(declared, backend=subject.backend).reveal().values())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [f"value {n}", f"value {n + 8}"] for n in range(8)}

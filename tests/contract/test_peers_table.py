"""The table that compares the package with its peers: one test for each row."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AppConfig,
    MemoryBackend,
    Parameter,
    Secret,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from tests.contract import subjects
from tests.contract.aws import BYTES, Aws, version_id
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambda_secrets import Backend

ROWS = {
    "cache, default TTL: 300 s, jittered": "test_cache_with_a_default_ttl",
    "TTL per secret: yes": "test_ttl_per_secret",
    "version, stage: yes, in the key": "test_version_and_stage",
    "JSON / binary: yes / yes": "test_json_and_binary",
    "JMESPath: yes": "test_jmespath",
    "SSM by name, by path: yes, yes": "test_ssm_by_name_and_by_path",
    "AppConfig: yes": "test_appconfig",
    "secrets through the extension: yes": "test_secrets_through_the_extension",
}


@pytest.fixture
def extension() -> Iterator[Backend]:
    """Return the backend of an extension in front of an account."""
    with subjects.extension(Aws()) as subject:
        yield subject.backend


@pytest.fixture
def memory() -> Iterator[Backend]:
    """Return the backend of a mapping with the same account."""
    with subjects.memory(Aws()) as subject:
        yield subject.backend


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Give the shared cache a clock that the test moves."""
    clock = FakeClock()
    monkeypatch.setattr(shared_cache, "clock", clock)
    return clock


def test_every_row_has_its_test() -> None:
    """No row of the table is left out."""
    assert all(callable(globals()[name]) for name in ROWS.values())
    named = {name for name in globals() if name.startswith("test_")}
    assert named == {*ROWS.values(), "test_every_row_has_its_test"}


@pytest.mark.parametrize(("luck", "lifetime"), [(0.0, 300), (0.5, 285), (1.0, 270)])
def test_cache_with_a_default_ttl(
    ticking: FakeClock, monkeypatch: pytest.MonkeyPatch, luck: float, lifetime: float
) -> None:
    """Row "cache, default TTL": a value expires after 300 s, less a jitter of up to a tenth."""
    monkeypatch.setattr(shared_cache, "draw", lambda: luck)
    values = {"prod/db": "old"}
    backend = MemoryBackend(values)
    assert resolve_secrets({"db": "prod/db"}, backend=backend).db == "old"
    values["prod/db"] = "new"
    ticking.tick(lifetime - 1)
    assert resolve_secrets({"db": "prod/db"}, backend=backend).db == "old"
    ticking.tick(1)
    assert resolve_secrets({"db": "prod/db"}, backend=backend).db == "new"


def test_ttl_per_secret(ticking: FakeClock) -> None:
    """Row "TTL per secret": each declaration may have its own, 0 and infinity included."""
    values = dict.fromkeys(("zero", "short", "long", "forever"), "old")

    @inject_secrets(
        {
            "zero": Secret("zero", ttl=0),
            "short": Secret("short", ttl=60),
            "long": "long",
            "forever": Secret("forever", ttl=math.inf),
        },
        ttl=600,
        jitter=0,
        backend=MemoryBackend(values),
    )
    def handler(_: object, context: Any) -> list[str]:
        return [name for name, value in context.secrets.reveal().items() if value == "new"]

    context = SimpleNamespace()
    assert handler({}, context) == []
    values.update(dict.fromkeys(values, "new"))
    assert handler({}, context) == ["zero"]
    ticking.tick(60)
    assert handler({}, context) == ["zero", "short"]
    ticking.tick(540)
    assert handler({}, context) == ["zero", "short", "long"]
    ticking.tick(1e9)
    assert handler({}, context) == ["zero", "short", "long"]


@pytest.mark.parametrize("name", ["extension", "memory"])
def test_version_and_stage(request: pytest.FixtureRequest, name: str) -> None:
    """Row "version, stage": both are part of the cache's key, for secrets and for parameters."""
    declared: dict[str, Any] = {
        "one": Secret("rotated", version_id=version_id(1)),
        "two": Secret("rotated", version_id=version_id(2)),
        "before": Secret("rotated", version_stage="AWSPREVIOUS"),
        "now": "rotated",
        "p1": Parameter("/rotated", version=1),
        "live": Parameter("/rotated", label="live"),
        "newest": "ssm:/rotated",
    }
    expected = {
        "one": "one",
        "two": "two",
        "before": "one",
        "now": "two",
        "p1": "one",
        "live": "two",
        "newest": "three",
    }
    backend = request.getfixturevalue(name)
    for _ in range(2):
        assert resolve_secrets(declared, backend=backend).reveal() == expected
    for key in reversed(declared):
        assert resolve_secrets({key: declared[key]}, backend=backend)[key] == expected[key]


@pytest.mark.parametrize("name", ["extension", "memory"])
def test_json_and_binary(request: pytest.FixtureRequest, name: str) -> None:
    """Row "JSON / binary": documents parsed, bytes raw, base64 text decoded on demand."""
    declared: dict[str, Any] = {
        "all": "json#@",
        "transformed": Secret("json", transform="json"),
        "bytes": "binary",
        "decoded": Secret("base64", transform="binary"),
        "parameter": "ssm:/json#@",
    }
    document = {"user": "ü", "port": 0, "nested": {"keys": ["a", "b"]}, "none": None}
    assert resolve_secrets(declared, backend=request.getfixturevalue(name)).reveal() == {
        "all": document,
        "transformed": document,
        "bytes": BYTES,
        "decoded": b"\x00\x01\x02\xff",
        "parameter": {"port": 0},
    }


@pytest.mark.parametrize("name", ["extension", "memory"])
def test_jmespath(request: pytest.FixtureRequest, name: str) -> None:
    """Row "JMESPath": any expression into the JSON of any kind."""
    declared = {
        "key": "json#user",
        "nested": "json#nested.keys[0]",
        "made": "json#{u: user, n: length(nested.keys)}",
        "empty": "ssm:/json#port",
        "flag": "appconfig:shop/prod/flags#dark.enabled",
    }
    assert resolve_secrets(declared, backend=request.getfixturevalue(name)).reveal() == {
        "key": "ü",
        "nested": "a",
        "made": {"u": "ü", "n": 2},
        "empty": 0,
        "flag": True,
    }


def test_ssm_by_name_and_by_path(extension: Backend, memory: Backend) -> None:
    """Row "SSM by name, by path": single parameters, lists, and trees by the rest of the name."""
    by_name = {"text": "ssm:/text", "plain": "ssm:plain", "list": "ssm:/list"}
    values = {"text": "text", "plain": "plain", "list": ["a", "b", "c"]}
    for backend in (extension, memory):
        assert resolve_secrets(by_name, backend=backend).reveal() == values
    tree = resolve_secrets({"tree": "ssm:/tree/"}, backend=memory).tree
    assert tree == {"a": "1", "deep/b": "2"}


@pytest.mark.parametrize("name", ["extension", "memory"])
def test_appconfig(request: pytest.FixtureRequest, name: str) -> None:
    """Row "AppConfig": a configuration's JSON, declared by string and by object."""
    declared: dict[str, Any] = {
        "all": "appconfig:shop/prod/flags#@",
        "limit": AppConfig("shop", "prod", "flags", "limit"),
    }
    assert resolve_secrets(declared, backend=request.getfixturevalue(name)).reveal() == {
        "all": {"dark": {"enabled": True}, "limit": 0},
        "limit": 0,
    }


def test_secrets_through_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row "secrets through the extension": the extension is used by default if it listens."""
    with subjects.Extension(Aws()) as server:
        monkeypatch.setenv("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", str(server.port))
        events: list[Any] = []
        secrets = resolve_secrets({"text": "text"}, observer=events.append)
        assert secrets.text == "  as it is\n"
        assert [event.backend for event in events] == ["extension"]

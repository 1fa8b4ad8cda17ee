"""The choice of a backend: by name, by environment variable, or as an object."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from lambda_secrets import (
    Answer,
    AutoBackend,
    Backend,
    DeclarationError,
    ExtensionBackend,
    FileBackend,
    MemoryBackend,
    ResolutionError,
    SdkBackend,
    backends,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.backends import AwsBackend, backend_of
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("auto", AutoBackend),
        ("extension", ExtensionBackend),
        ("aws", AwsBackend),
        ("sdk", SdkBackend),
    ],
)
def test_a_name_chooses_a_backend(name: Any, kind: type) -> None:
    """Each name stands for its class."""
    assert type(backend_of(name)) is kind


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of secrets that the environment names."""
    path = tmp_path / "secrets.toml"
    path.write_text('[secrets]\n"prod/db" = "from the file"\n', "utf-8")
    monkeypatch.setenv("LAMBDA_SECRETS_FILE", str(path))
    return path


def test_threads_that_name_a_backend_at_the_same_time_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many threads are the first to name a backend, they read and cache through one."""
    barrier = threading.Barrier(2)

    class Slow(SdkBackend):
        def __init__(self) -> None:
            barrier.wait(10)
            super().__init__()

    monkeypatch.setattr(backends._sdk, "SdkBackend", Slow)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(backend_of, ["sdk", "sdk"])
    assert one is other


def test_the_file_backend_is_chosen_with_its_variable(file: Path) -> None:
    """`"file"` reads the file that `LAMBDA_SECRETS_FILE` names."""
    assert type(backend_of("file")) is FileBackend
    assert resolve_secrets({"db": "prod/db"}, backend="file").db == "from the file"


@pytest.mark.parametrize("value", [None, ""])
def test_the_file_backend_needs_its_variable(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable, the choice is refused when the decorator is applied."""
    if value is not None:
        monkeypatch.setenv("LAMBDA_SECRETS_FILE", value)
    with pytest.raises(DeclarationError, match="LAMBDA_SECRETS_FILE is not set"):
        inject_secrets({"db": "db"}, backend="file")(lambda event, context: None)


def test_the_variable_replaces_the_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LAMBDA_SECRETS_BACKEND` applies when no backend is given."""
    monkeypatch.setenv("LAMBDA_SECRETS_BACKEND", "file")

    @inject_secrets({"db": "prod/db"})
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.db

    assert handler({}, SimpleNamespace()) == "from the file"
    assert resolve_secrets({"db": "prod/db"}).db == "from the file"


def test_the_variable_replaces_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend given by name or as an object overrides the variable."""
    monkeypatch.setenv("LAMBDA_SECRETS_BACKEND", "file")
    assert type(backend_of("sdk")) is SdkBackend
    assert type(backend_of("extension")) is ExtensionBackend
    own = Recorder({"prod/db": "own"})
    assert backend_of(own) is own
    assert resolve_secrets({"db": "prod/db"}, backend=own).db == "own"


@pytest.mark.parametrize("value", ["vault", "SDK", " sdk"])
def test_an_unknown_variable_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, since the code does not mention it."""
    monkeypatch.setenv("LAMBDA_SECRETS_BACKEND", value)
    with pytest.raises(DeclarationError) as raised:
        inject_secrets({"db": "db"})(lambda event, context: None)
    assert f"got {value!r} (from LAMBDA_SECRETS_BACKEND)." in str(raised.value)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as a template may leave it, has no effect."""
    monkeypatch.setenv("LAMBDA_SECRETS_BACKEND", "")
    assert type(backend_of("auto")) is AutoBackend


@pytest.mark.parametrize("name", ["vault", "", "Auto", "memory"])
def test_an_unknown_name_is_refused(name: Any) -> None:
    """The error lists the valid names."""
    with pytest.raises(DeclarationError) as raised:
        backend_of(name)
    assert str(raised.value) == (
        "Cannot use this backend: expected 'auto', 'extension', 'aws', 'sdk', 'file' or an object "
        f"with a fetch() method, got {name!r}."
    )


@pytest.mark.parametrize(
    "wrong", [None, 5, object(), MemoryBackend, SimpleNamespace(fetch=5), ["sdk"], b"sdk"]
)
def test_what_has_no_fetch_is_refused(wrong: Any) -> None:
    """An object without a `fetch` method, or a class instead of an object, is refused."""
    with pytest.raises(DeclarationError, match=r"with a fetch\(\) method"):
        backend_of(wrong)


@pytest.mark.parametrize("hook", ["__eq__", "__hash__", "name"])
def test_an_object_is_taken_whatever_it_raises(hook: str) -> None:
    """An object whose `__eq__`, `__hash__` or `name` raises still works as a backend."""

    def explode(*_: Any) -> Any:
        raise SystemExit("never shown")

    hooks = {hook: property(explode) if hook == "name" else explode}
    kind: Any = type("Own", (Recorder,), {"__hash__": object.__hash__, **hooks})
    own = kind({"db": "own"})
    assert backend_of(own) is own
    assert resolve_secrets({"db": "db"}, backend=own).db == "own"
    with pytest.raises(ResolutionError, match="missing"):
        resolve_secrets({"db": "missing"}, backend=own)


def test_an_object_of_ones_own_is_taken_as_it_is() -> None:
    """A backend needs only a `fetch` method."""

    class Own:
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            return dict.fromkeys(sources, "own")

    own = Own()
    assert isinstance(own, Backend)
    assert backend_of(own) is own
    assert resolve_secrets({"db": "db"}, backend=own).db == "own"


@pytest.mark.parametrize("name", ["auto", "extension", "aws", "sdk"])
def test_handlers_share_the_backend_of_a_name(name: Any) -> None:
    """Two handlers share a named backend as long as the settings stay the same."""
    one = backend_of(name)
    assert backend_of(name) is one
    variable = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT" if name == "extension" else "AWS_REGION"
    with mock.patch.dict("os.environ", {variable: "2774"}):
        assert backend_of(name) is not one
    assert backend_of(name) is one


def test_a_plain_dict_in_place_of_the_environment_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test may replace `os.environ` itself with a dict."""
    settings = {"LAMBDA_SECRETS_FILE": str(file)}
    monkeypatch.setattr("os.environ", settings)
    assert type(backend_of("auto")) is AutoBackend
    settings["LAMBDA_SECRETS_BACKEND"] = "file"
    assert resolve_secrets({"db": "prod/db"}).db == "from the file"


def test_another_file_is_another_backend(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of one file are not served for another."""
    assert resolve_secrets({"db": "prod/db"}, backend="file").db == "from the file"
    other = file.with_name("other.json")
    other.write_text('{"secrets": {"prod/db": "from another"}}', "utf-8")
    monkeypatch.setenv("LAMBDA_SECRETS_FILE", str(other))
    assert resolve_secrets({"db": "prod/db"}, backend="file").db == "from another"


def test_choosing_a_backend_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decorating reads no file and opens no connection."""
    monkeypatch.setenv("LAMBDA_SECRETS_FILE", "/no/such/file")
    for name in ("auto", "extension", "aws", "sdk", "file"):
        inject_secrets({"db": "db"}, backend=name)(lambda event, context: None)


def test_an_answer_keeps_what_is_known_of_a_value() -> None:
    """An answer carries version, real backend and upstream TTL, and hides its value."""
    bare = Answer("value")
    assert (bare.value, bare.version, bare.backend, bare.upstream_ttl) == ("value", None, None, 0)
    full = Answer("value", version="v1", backend="agent", upstream_ttl=300)
    assert (full.version, full.backend, full.upstream_ttl) == ("v1", "agent", 300)
    assert "value" not in repr(full)
    with pytest.raises(AttributeError):
        full.value = "the cache would not see it"  # type: ignore[misc]  # it has no setter
    with pytest.raises(TypeError, match="Cannot pickle Answer"):
        pickle.dumps(full)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    """A name that is not a backend's raises `AttributeError`."""
    with pytest.raises(AttributeError, match="no attribute 'VaultBackend'"):
        _ = backends.VaultBackend

"""Backends read secrets: the type of their answers, and how a name selects a backend."""
# pyright: reportUnsupportedDunderAll=false

from __future__ import annotations

import functools
import os

from .._values import Shared, opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from .._sources import Source
    from ._auto import AutoBackend as AutoBackend
    from ._aws import AwsBackend as AwsBackend
    from ._extension import ExtensionBackend as ExtensionBackend
    from ._local import FileBackend as FileBackend, MemoryBackend as MemoryBackend
    from ._sdk import SdkBackend as SdkBackend
    from ._types import Backend as Backend

    Value: TypeAlias = str | bytes | list[str] | dict[str, Any]

_MODULES = {
    "AutoBackend": "_auto",
    "AwsBackend": "_aws",
    "Backend": "_types",
    "ExtensionBackend": "_extension",
    "FileBackend": "_local",
    "MemoryBackend": "_local",
    "SdkBackend": "_sdk",
}
__all__ = ["Answer", *_MODULES]  # noqa: PLE0604 - they are strings

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
APPCONFIG_PORT = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
TOKENS = ("AWS_TOKEN", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_NAMES = ("auto", "extension", "aws", "sdk", "file")  # of classes, without "Backend"
# The variables that they depend on: one shared instance for each set of values.
_SETTINGS = (
    *("AWS_LAMBDA_RUNTIME_API", PORT, APPCONFIG_PORT, "LAMBDA_SECRETS_FILE"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"),
    *("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


class Answer(Shared):
    """A value with what its backend knows about it.

    Attributes:
        value: the value, as in `Backend.fetch`; hidden from code that walks slots and ``__dict__``.
        version: its version, shown in events and ``cache_info()``.
        backend: the name of the backend that answered, if this one asked another.
        upstream_ttl: the seconds for which a cache behind the backend may have kept the value.
    """

    __slots__ = ("_value", "backend", "upstream_ttl", "version")

    def __init__(
        self,
        value: Value,
        *,
        version: str | None = None,
        backend: str | None = None,
        upstream_ttl: float = 0.0,
    ) -> None:
        """Store the value and its metadata."""
        self._value = opaque(value)
        self.version: str | None = version
        self.backend: str | None = backend
        self.upstream_ttl: float = upstream_ttl

    @property
    def value(self) -> Value:
        """The value. It cannot be set, since a new value needs a new `Answer`."""
        return self._value(0)  # type: ignore[no-any-return]  # __init__ hid it


def backend_of(choice: str | Backend) -> Backend:
    """Return the shared backend of that name, or the given backend object itself.

    Raises:
        DeclarationError: when it is neither, or ``LAMBDA_SECRETS_FILE`` is needed but not set.
    """
    chosen: Any = choice
    if isinstance(choice, str):
        if choice == "auto" and any(environment(("LAMBDA_SECRETS_BACKEND",))):  # set, not empty
            chosen = os.environ["LAMBDA_SECRETS_BACKEND"]
        if chosen in _NAMES:
            key = chosen, *environment(_SETTINGS)
            return _named.get(key) or _named.setdefault(key, _made(chosen))  # needs no lock
    elif callable(getattr(choice, "fetch", None)) and not isinstance(choice, type):
        return choice
    from .._options import unknown_backend

    raise unknown_backend(choice, chosen)


def own_region() -> str:
    """Return the function's region; empty if none is set."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def is_elsewhere(source: Source) -> bool:
    """Whether an ARN names a region other than the function's: the extension cannot read it."""
    return bool(source.region) and own_region() not in ("", source.region)


def backend_name(backend: Backend) -> str:
    """Return the name of a backend for errors and events."""
    try:
        name = getattr(backend, "name", None)
    except BaseException:  # noqa: BLE001 - a third-party property may raise anything
        name = None
    return name if name and isinstance(name, str) else type(backend).__name__


def environment(variables: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the variables' values to compare (None: unset); undecoded, since decoding is slow."""
    texts = getattr(os.environ, "_data", None)
    if texts is None:  # a test has replaced it by a plain dict
        return tuple(map(os.environ.get, variables))
    return tuple(map(texts.get, _encoded(variables)))


@functools.cache
def _encoded(variables: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(map(os.environ.encodekey, variables))


def _made(name: str) -> Backend:
    backend_class = __getattr__(f"{name.capitalize()}Backend")
    if name != "file":
        return backend_class()  # type: ignore[no-any-return]  # chosen by name
    from .._options import file_named_by

    return backend_class(file_named_by(os.environ.get("LAMBDA_SECRETS_FILE")))  # type: ignore[no-any-return]  # as above


_named: dict[Any, Backend] = {}


def __getattr__(name: str) -> Any:
    """Import a backend on its first use: a handler pays only for the one that it uses."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

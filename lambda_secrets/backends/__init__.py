"""The boundary to where secrets are kept: what a backend answers, and how one is chosen by name."""
# pyright: reportUnsupportedDunderAll=false

from __future__ import annotations

import functools
import os

from .._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

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
__all__ = ["Answer", *_MODULES]  # noqa: PLE0604 - which are strings

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
APPCONFIG_PORT = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
# What a backend made by its name depends on: shared for the same settings, made anew for others.
_AWS_SETTINGS = (
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"),
    *("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_SETTINGS = {  # by the class's name, less "Backend"
    "auto": ("AWS_LAMBDA_RUNTIME_API", PORT, APPCONFIG_PORT, *_AWS_SETTINGS),
    "extension": (PORT, APPCONFIG_PORT),
    "aws": _AWS_SETTINGS,
    "sdk": _AWS_SETTINGS,
    "file": ("LAMBDA_SECRETS_FILE",),
}


class Answer:
    """A value with what its backend knows about it.

    Attributes:
        value: the value, as in `Backend.fetch`; hidden from what walks slots and ``__dict__``.
        version: its version, shown in events and ``cache_info()``.
        backend: the name of the backend that answered, if this one asked another.
        upstream_ttl: how many seconds a cache behind the backend may have kept it.
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
        """Keep all of it."""
        self.value = value
        self.version: str | None = version
        self.backend: str | None = backend
        self.upstream_ttl: float = upstream_ttl

    @property
    def value(self) -> Value:
        """The value."""
        return self._value(0)  # type: ignore[no-any-return]  # what __init__ hid

    @value.setter
    def value(self, value: Value) -> None:
        self._value = opaque(value)

    def __reduce__(self) -> str:
        """Refuse: a pickle would hold the value."""
        raise TypeError("Cannot pickle an Answer: the pickle would hold a secret value.")


def backend_of(choice: str | Backend) -> Backend:
    """Return the backend of that name, one for each setting of its variables; an object as it is.

    Raises:
        DeclarationError: when it is neither, or its variable is missing.
    """
    chosen: Any = choice
    if isinstance(choice, str):
        if choice == "auto" and any(environment(("LAMBDA_SECRETS_BACKEND",))):  # set, not empty
            chosen = os.environ["LAMBDA_SECRETS_BACKEND"]
        if chosen in _SETTINGS:
            return _shared(chosen, *environment(_SETTINGS[chosen]))
    elif callable(getattr(choice, "fetch", None)) and not isinstance(choice, type):
        return choice
    from .._options import unknown_backend

    raise unknown_backend(choice, chosen)


def own_region() -> str:
    """Return the function's region; empty where none is set."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def backend_name(backend: Backend) -> str:
    """Return what errors and events call a backend."""
    try:
        name = getattr(backend, "name", None)
    except BaseException:  # noqa: BLE001 - a property of others may raise anything
        name = None
    return name if name and isinstance(name, str) else type(backend).__name__


def environment(variables: tuple[str, ...]) -> tuple[Any, ...]:
    """Return what variables hold, to be compared: not decoded, which takes longer than the rest.

    None stands for one that is unset.
    """
    texts = getattr(os.environ, "_data", None)
    if texts is None:  # a plain dict that a test has put there
        return tuple(map(os.environ.get, variables))
    return tuple(map(texts.get, _encoded(variables)))


@functools.cache
def _encoded(variables: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(map(os.environ.encodekey, variables))


@functools.cache
def _shared(name: str, *_: Any) -> Backend:
    backend_class = __getattr__(f"{name.capitalize()}Backend")
    if name != "file":
        return backend_class()  # type: ignore[no-any-return]  # chosen by name
    from .._options import file_named_by

    return backend_class(file_named_by(os.environ.get("LAMBDA_SECRETS_FILE")))  # type: ignore[no-any-return]  # as above


def __getattr__(name: str) -> Any:
    """Import a backend on its first use: a handler pays for the one that it has."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

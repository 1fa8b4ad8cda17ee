"""The seam to where secrets are kept: what a backend answers, and the choice of one by its name."""

from __future__ import annotations

import functools
import os

from ..errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from ._auto import AutoBackend as AutoBackend
    from ._extension import ExtensionBackend as ExtensionBackend
    from ._local import FileBackend as FileBackend, MemoryBackend as MemoryBackend
    from ._protocol import Backend as Backend
    from ._sdk import SdkBackend as SdkBackend

    Value: TypeAlias = str | bytes | list[str] | dict[str, Any]

__all__ = [
    "Answer",
    "AutoBackend",
    "Backend",
    "ExtensionBackend",
    "FileBackend",
    "MemoryBackend",
    "SdkBackend",
    "backend_name",
    "backend_of",
]

_MODULES = {
    "AutoBackend": "_auto",
    "Backend": "_protocol",
    "ExtensionBackend": "_extension",
    "FileBackend": "_local",
    "MemoryBackend": "_local",
    "SdkBackend": "_sdk",
}
# What a backend made by its name depends on: shared for the same settings, made anew for others.
_SDK_SETTINGS = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL")
_PORTS = ("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", "AWS_APPCONFIG_EXTENSION_HTTP_PORT")
_SETTINGS = {
    "auto": ("AutoBackend", (*_PORTS, *_SDK_SETTINGS)),
    "extension": ("ExtensionBackend", _PORTS),
    "sdk": ("SdkBackend", _SDK_SETTINGS),
    "file": ("FileBackend", ("LAMBDA_SECRETS_FILE",)),
}


class Answer:
    """A value with what its backend knows of it.

    Attributes:
        value: the value, as in `Backend.fetch`.
        version: its version, shown in events and ``cache_info()``.
        backend: the name of the backend that really answered, where one asks others.
        upstream_ttl: how many seconds a cache behind the backend may have kept it.
    """

    __slots__ = ("backend", "upstream_ttl", "value", "version")

    def __init__(
        self,
        value: Value,
        *,
        version: str | None = None,
        backend: str | None = None,
        upstream_ttl: float = 0.0,
    ) -> None:
        """Keep all of it."""
        self.value: Value = value
        self.version: str | None = version
        self.backend: str | None = backend
        self.upstream_ttl: float = upstream_ttl

    def __reduce__(self) -> str:
        """Refuse: a pickle would hold the value."""
        raise TypeError("Cannot pickle an Answer: the pickle would hold a secret value.")


def backend_of(choice: str | Backend) -> Backend:
    """Return the backend of that name, one for each setting of its variables; an object as it is.

    Raises:
        DeclarationError: when it is neither, or its variable is missing.
    """
    if not isinstance(choice, str):
        if callable(getattr(choice, "fetch", None)) and not isinstance(choice, type):
            return choice
        # Only its type: it may be the values, without a MemoryBackend around them.
        raise DeclarationError(
            f"Cannot use a {type(choice).__name__} as backend: it has no fetch(). Use 'auto', "
            "'extension', 'sdk', 'file' or an object with the Backend protocol."
        )
    variable = ""
    if choice == "auto" and "LAMBDA_SECRETS_BACKEND" in os.environ:
        choice = os.environ["LAMBDA_SECRETS_BACKEND"]
        variable = " (from LAMBDA_SECRETS_BACKEND)"
    if choice not in _SETTINGS:
        raise DeclarationError(
            f"Cannot use backend {choice!r}{variable}: it is unknown. "
            "Use 'auto', 'extension', 'sdk' or 'file'."
        )
    class_name, variables = _SETTINGS[choice]
    return _shared(class_name, *[os.environ.get(variable) for variable in variables])


def backend_name(backend: Backend) -> str:
    """Return what errors and events call a backend."""
    return getattr(backend, "name", None) or type(backend).__name__


@functools.cache
def _shared(class_name: str, *settings: str | None) -> Backend:
    if class_name == "FileBackend":
        path = settings[0]
        if not path:
            raise DeclarationError(
                "Cannot use backend 'file': LAMBDA_SECRETS_FILE is not set. "
                "Set it to a TOML or JSON file, or use FileBackend(path)."
            )
        return __getattr__("FileBackend")(path)  # type: ignore[no-any-return]  # chosen by name
    return __getattr__(class_name)()  # type: ignore[no-any-return]  # chosen by name


def __getattr__(name: str) -> Any:
    """Import a backend on its first use: a handler pays for the one that it has."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

"""Declare the secrets that a Lambda handler needs; get them injected, fresh, and never shown."""

from __future__ import annotations

from ._declarations import Secret, Source
from ._decorator import inject_secrets
from ._values import Secrets
from .errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    InjectionError,
    ResolutionError,
    SecretNotFoundError,
    SecretsError,
    SecretValueError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._once import clear_cache as clear_cache, resolve_secrets as resolve_secrets
    from ._declarations import (
        AppConfig as AppConfig,
        Parameter as Parameter,
        ParameterTree as ParameterTree,
    )
    from .backends import (
        Answer as Answer,
        AutoBackend as AutoBackend,
        Backend as Backend,
        ExtensionBackend as ExtensionBackend,
        FileBackend as FileBackend,
        MemoryBackend as MemoryBackend,
        SdkBackend as SdkBackend,
    )
    from .events import (
        Event as Event,
        Fetched as Fetched,
        Retried as Retried,
        ServedStale as ServedStale,
    )

    __version__: str

__all__ = [
    "AccessDeniedError",
    "Answer",
    "AppConfig",
    "AutoBackend",
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "DeclarationError",
    "Event",
    "ExtensionBackend",
    "Fetched",
    "FileBackend",
    "InjectionError",
    "MemoryBackend",
    "Parameter",
    "ParameterTree",
    "ResolutionError",
    "Retried",
    "SdkBackend",
    "Secret",
    "SecretNotFoundError",
    "SecretValueError",
    "Secrets",
    "SecretsError",
    "ServedStale",
    "Source",
    "clear_cache",
    "inject_secrets",
    "resolve_secrets",
]

_MODULES = {
    **dict.fromkeys(("clear_cache", "resolve_secrets"), "_once"),
    **dict.fromkeys(("AppConfig", "Parameter", "ParameterTree"), "_kinds"),
    **dict.fromkeys(("Event", "Fetched", "Retried", "ServedStale"), "events"),
}


def __getattr__(name: str) -> object:
    """Import what few handlers use on its first use: a cold start pays for nothing else."""
    from importlib import import_module

    if name == "__version__":
        return import_module("importlib.metadata").version("lambda-secrets")
    if name in __all__:
        module = import_module(f".{_MODULES.get(name, 'backends')}", __name__)
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Show the public names."""
    return [*__all__, "__version__"]

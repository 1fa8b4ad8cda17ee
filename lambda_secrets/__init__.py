"""Declare the secrets that a Lambda handler needs; get them injected, fresh, and never shown."""
# pyright: reportUnsupportedDunderAll=false
# __init__.pyi has the types of these names; half of them are imported late.

from __future__ import annotations

from . import _bytecode as _bytecode  # first: it loads the others
from ._decorator import inject_secrets
from ._secret import Secret
from ._sources import Source
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

# Few handlers use these: each is imported on its first use.
_LATE = {
    "_kinds": "AppConfig Parameter ParameterTree",
    "_live": "CacheInfo LiveSecrets",
    "_once": "clear_cache resolve_secrets",
    "_types": "Declaration InjectedHandler",
    "backends": (
        "Answer AutoBackend AwsBackend Backend ExtensionBackend FileBackend MemoryBackend "
        "SdkBackend"
    ),
    "events": "Event Fetched Retried ServedStale",
}

__all__ = [
    "AccessDeniedError",
    "Answer",
    "AppConfig",
    "AutoBackend",
    "AwsBackend",
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "CacheInfo",
    "Declaration",
    "DeclarationError",
    "Event",
    "ExtensionBackend",
    "Fetched",
    "FileBackend",
    "InjectedHandler",
    "InjectionError",
    "LiveSecrets",
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


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _LATE.items():
        if name in names.split():
            return getattr(import_module(f".{module}", __name__), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("lambda-secrets")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

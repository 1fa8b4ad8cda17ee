"""Declare the secrets that a Lambda handler needs; get them injected, fresh, and never shown."""
# pyright: reportUnsupportedDunderAll=false
# __init__.pyi has the types of these names.

from __future__ import annotations

from . import _bytecode as _bytecode  # first: the others load through it
from ._decorator import inject_secrets as inject_secrets

# The modules of the other names, imported when a name is used: few handlers need many of them.
_LATE = {
    "_kinds": "AppConfig Parameter ParameterTree",
    "_live": "CacheInfo LiveSecrets",
    "_once": "clear_cache resolve_secrets",
    "_secret": "Secret",
    "_sources": "Source",
    "_types": "Declaration InjectedHandler",
    "_values": "Secrets",
    "backends": (
        "Answer AutoBackend AwsBackend Backend ExtensionBackend FileBackend MemoryBackend "
        "SdkBackend"
    ),
    "errors": (
        "AccessDeniedError BackendError BackendUnavailableError DeclarationError InjectionError "
        "ResolutionError SecretNotFoundError SecretValueError SecretsError"
    ),
    "events": "Event Fetched Retried ServedStale",
}

__all__ = sorted(["inject_secrets", *" ".join(_LATE.values()).split()])  # noqa: PLE0605


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

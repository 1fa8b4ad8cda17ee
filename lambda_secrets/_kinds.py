"""Declares what Parameter Store and AppConfig hold, and checks options that few handlers give."""

from __future__ import annotations

from ._declarations import Declaration, check_seconds, checked_name
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import EllipsisType
    from typing import Any

    from ._declarations import Transform

_COROUTINE = 0x80  # a code object's flag, as `inspect` has it
_FLAGS = ("decrypt", "recursive")
_CALLBACKS = ("transform", "build", "close")


class Parameter(Declaration):
    """A Parameter Store parameter; a StringList is a list of strings.

    Args:
        name: its name or ARN, or ``env:NAME`` for the variable that holds it.
        path: a JMESPath expression into its JSON.
        version, label: one version or label; the latest version by default.
        decrypt: whether a SecureString is decrypted.
        transform, build, close, ttl, default: as for `Secret`.

    Raises:
        DeclarationError: when an argument is wrong.
    """

    __slots__ = ("decrypt", "label", "version")
    version: int | None
    label: str | None
    decrypt: bool

    def __init__(
        self,
        name: str,
        path: str | None = None,
        *,
        version: int | None = None,
        label: str | None = None,
        decrypt: bool = True,
        transform: Transform | None = None,
        build: Callable[[Any], Any] | None = None,
        close: Callable[[Any], Any] | None = None,
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._hide(default)
        del default
        if not checked_name(name, "parameter"):
            what = f"Cannot declare parameter {name!r}"
            if name.endswith("/"):
                raise DeclarationError(
                    f"{what}: a parameter name must not end in '/'. Use ParameterTree for a path."
                )
            if ":" in name and not name.startswith("arn:"):
                raise DeclarationError(
                    f"{what}: a parameter name must not contain ':'; use version= or label=."
                )
        self._declare(
            "parameter",
            name,
            path,
            {"version": version, "label": label, "decrypt": decrypt},
            transform=transform,
            build=build,
            close=close,
            ttl=ttl,
        )


class ParameterTree(Declaration):
    """Every parameter below a path of Parameter Store: a dict keyed by the rest of the name.

    Args:
        prefix: the path, such as ``/prod/app/``, or ``env:NAME`` for the variable that holds it.
        recursive: whether to go below the first level.
        decrypt: whether SecureStrings are decrypted.
        transform: as for `Secret`, applied to each parameter's value.
        build, close, ttl, default: as for `Secret`; a path without parameters does not exist.

    Raises:
        DeclarationError: when an argument is wrong.
    """

    __slots__ = ("decrypt", "recursive")
    recursive: bool
    decrypt: bool

    def __init__(
        self,
        prefix: str,
        *,
        recursive: bool = True,
        decrypt: bool = True,
        transform: Transform | None = None,
        build: Callable[[Any], Any] | None = None,
        close: Callable[[Any], Any] | None = None,
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._hide(default)
        del default
        if not checked_name(prefix, "tree"):
            if not prefix.startswith("/"):
                raise DeclarationError(
                    f"Cannot declare tree {prefix!r}: a tree's prefix must begin with '/' (an ARN "
                    "cannot be read by path). Use the path, such as /prod/app/."
                )
            prefix = prefix.rstrip("/") + "/"
        self._declare(
            "tree",
            prefix,
            None,
            {"recursive": recursive, "decrypt": decrypt},
            transform=transform,
            build=build,
            close=close,
            ttl=ttl,
        )

    @property
    def prefix(self) -> str:
        """The path, which ends in ``/``, or ``env:NAME``."""
        return self.name


class AppConfig(Declaration):
    """An AppConfig configuration: its text, or bytes where it is not UTF-8.

    Args:
        application, environment, profile: their names or ids.
        path: a JMESPath expression into its JSON.
        transform, build, close, ttl, default: as for `Secret`.

    Raises:
        DeclarationError: when an argument is wrong.
    """

    __slots__ = ("application", "environment", "profile")
    application: str
    environment: str
    profile: str

    def __init__(
        self,
        application: str,
        environment: str,
        profile: str,
        path: str | None = None,
        *,
        transform: Transform | None = None,
        build: Callable[[Any], Any] | None = None,
        close: Callable[[Any], Any] | None = None,
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._hide(default)
        del default
        parts = {"application": application, "environment": environment, "profile": profile}
        for part in parts.values():
            if checked_name(part, "AppConfig configuration"):
                raise DeclarationError(
                    f"Cannot declare AppConfig configuration {part!r}: it takes no env:NAME. "
                    "Declare 'env:NAME', with appconfig:application/environment/profile in the "
                    "variable."
                )
        self._freeze(**parts)
        self._declare(
            "appconfig",
            "/".join(part.replace("/", "%2F") for part in parts.values()),
            path,
            {},
            transform=transform,
            build=build,
            close=close,
            ttl=ttl,
        )


def check_options(what: str, **options: Any) -> None:
    """Raise a `DeclarationError` for an option of a declaration that is wrong."""
    for option, value in options.items():
        expected = "" if value is None and option not in _FLAGS else _expected(option, value)
        if expected:
            shown = type(value).__name__ if option in _CALLBACKS else repr(value)
            if option == "transform" and isinstance(value, str):
                shown = repr(value)
            raise DeclarationError(f"{what}: {option} must be {expected}, not {shown}.")
    if options["ttl"] is not None:
        check_seconds(options["ttl"], f"{what}: ttl")
    if options["close"] is not None and options["build"] is None:
        raise DeclarationError(f"{what}: close= needs build=: it closes what build has made.")
    if options.get("version") is not None and options.get("label") is not None:
        raise DeclarationError(f"{what}: give version or label, not both.")
    if options.get("pending") and (options["version_id"] or options["version_stage"]):
        raise DeclarationError(
            f"{what}: pending=True needs the current version. Drop version_id= and version_stage=."
        )


def _expected(option: str, value: Any) -> str:
    """Return what an option must be, or nothing if it is."""
    if option in _FLAGS or option == "pending":
        return "" if isinstance(value, bool) else "True or False"
    if option == "version_id":
        fits = isinstance(value, str) and value.isprintable() and 32 <= len(value) <= 64
        return "" if fits else "32 to 64 characters long (use version_stage= for a staging label)"
    if option in {"version_stage", "label"}:
        fits = isinstance(value, str) and value != "" and value.isprintable()
        return "" if fits else "a non-empty string (leave it out for the current version)"
    if option == "version":
        return "" if type(value) is int and value >= 1 else "a whole number ≥ 1"
    if option == "transform":
        fits = callable(value) or (isinstance(value, str) and value in {"json", "binary"})
        return "" if fits else "'json', 'binary' or a callable"
    if option in _CALLBACKS:
        if not callable(value):
            return "a callable"
        while hasattr(value, "func"):  # of functools.partial
            value = value.func
        code = getattr(value, "__code__", getattr(type(value).__call__, "__code__", None))
        if code is not None and code.co_flags & _COROUTINE:
            return (
                "a plain function, since an async pool belongs to one event loop (make such a "
                "pool in the application's lifespan)"
            )
    return ""

"""Declares what Parameter Store and AppConfig hold, and checks options that few handlers give."""

from __future__ import annotations

from ._declarations import Declaration, Source, checked_name
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import EllipsisType
    from typing import Any

    from ._declarations import Transform

_COROUTINE = 0x80  # a code object's flag, as `inspect` has it


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

    __slots__ = ("decrypt", "label", "name", "version")
    name: str
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
        variable = checked_name(name, "parameter")
        what = f"Cannot declare parameter {name!r}"
        if not variable:
            if name.endswith("/"):
                raise DeclarationError(
                    f"{what}: a parameter name must not end in '/'. Use ParameterTree for a path."
                )
            if ":" in name and not name.startswith("arn:"):
                raise DeclarationError(
                    f"{what}: a parameter name must not contain ':'; use version= or label=."
                )
        _check_text(what, "label", label)
        if version is not None and (type(version) is not int or version < 1):
            raise DeclarationError(f"{what}: version must be a whole number ≥ 1, not {version!r}.")
        if version is not None and label is not None:
            raise DeclarationError(f"{what}: give version or label, not both.")
        _check_bool(what, decrypt=decrypt)
        options: dict[str, Any] = {"version": version, "label": label, "decrypt": decrypt}
        self._declare(
            *(variable or Source("parameter", name, **options), path),
            **options,
            **{"name": name, "transform": transform, "build": build, "close": close, "ttl": ttl},
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

    __slots__ = ("decrypt", "prefix", "recursive")
    prefix: str
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
        variable = checked_name(prefix, "tree")
        what = f"Cannot declare tree {prefix!r}"
        if not variable:
            if not prefix.startswith("/"):
                raise DeclarationError(
                    f"{what}: a tree's prefix must begin with '/' (an ARN cannot be read by "
                    "path). Use the path, such as /prod/app/."
                )
            prefix = prefix.rstrip("/") + "/"
        _check_bool(what, recursive=recursive, decrypt=decrypt)
        options: dict[str, Any] = {"recursive": recursive, "decrypt": decrypt}
        self._declare(
            *(variable or Source("tree", prefix, **options), None),
            **options,
            **{"prefix": prefix, "transform": transform, "build": build, "close": close},
            ttl=ttl,
        )


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
        name = "/".join(part.replace("/", "%2F") for part in parts.values())
        self._declare(
            *(Source("appconfig", name), path),
            **parts,
            **{"transform": transform, "build": build, "close": close, "ttl": ttl},
        )


def check_version(name: str, version_id: object, version_stage: object, pending: object) -> None:
    """Raise a `DeclarationError` for a wrong version, stage or ``pending`` of a secret."""
    what = f"Cannot declare secret {name!r}"
    _check_text(what, "version_stage", version_stage)
    if version_id is not None and not (isinstance(version_id, str) and 32 <= len(version_id) <= 64):
        raise DeclarationError(
            f"{what}: version_id must be 32 to 64 characters long, not {version_id!r}. Use the id "
            "that AWS shows, or version_stage= for a staging label."
        )
    if pending is not None:
        _check_bool(what, pending=pending)
        if pending and (version_id or version_stage):
            raise DeclarationError(f"{what}: pending=True needs the current version. Drop one.")


def check_callbacks(what: object, transform: object, build: object, close: object) -> None:
    """Raise a `DeclarationError` for what cannot be called, or would have to be awaited."""
    what = f"Cannot declare {what}"
    if not (transform is None or callable(transform) or transform in ("json", "binary")):
        shown = repr(transform) if isinstance(transform, str) else type(transform).__name__
        raise DeclarationError(
            f"{what}: transform must be 'json', 'binary' or a callable, not {shown}."
        )
    for option, function in (("build", build), ("close", close)):
        if function is not None and not callable(function):
            raise DeclarationError(
                f"{what}: {option} must be a callable, not {type(function).__name__}."
            )
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _COROUTINE:
            raise DeclarationError(
                f"{what}: {option} must be a plain function, not a coroutine function. An async "
                "pool belongs to one event loop: make it in the application's lifespan instead."
            )
    if close is not None and build is None:
        raise DeclarationError(f"{what}: close= needs build=: it closes what build has made.")


def _check_text(what: str, option: str, value: object) -> None:
    if value is not None and not (isinstance(value, str) and value and value.isprintable()):
        raise DeclarationError(
            f"{what}: {option} must be a non-empty string, not {value!r}. Leave it out for the "
            "current version."
        )


def _check_bool(what: str, **options: object) -> None:
    for option, value in options.items():
        if not isinstance(value, bool):
            raise DeclarationError(f"{what}: {option} must be True or False, not {value!r}.")

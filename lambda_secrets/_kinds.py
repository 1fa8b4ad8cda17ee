"""Declares what Parameter Store and AppConfig hold."""

from __future__ import annotations

from ._secret import Declaration, checked_name
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._extract import Callback, Transform


class Parameter(Declaration):
    """A Parameter Store parameter: its text; a list of strings for a StringList.

    Example::

        Parameter("/prod/workers", transform=int, default=4)

    Args:
        name: its name or ARN, or ``env:NAME`` for the variable that holds it.
        path: a JMESPath expression into its JSON.
        version: one version. None: the latest.
        label: one label, not together with ``version``.
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
        build: Callback | None = None,
        close: Callback | None = None,
        ttl: float | None = None,
        default: Any = ...,
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
        read = {"version": version, "label": label, "decrypt": decrypt}
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("parameter", name, path, read, **options)


class ParameterTree(Declaration):
    """Every parameter below a path of Parameter Store: a dict keyed by the rest of the name.

    Example::

        ParameterTree("/prod/app/")  # {"url": "…", "mail/host": "…"}

    Args:
        prefix: the path, such as ``/prod/app/``, or ``env:NAME`` for the variable that holds it.
        recursive: whether to go below the first level.
        decrypt: whether SecureStrings are decrypted.
        transform: as for `Secret`, applied to each parameter's value.
        build, close, ttl: as for `Secret`.
        default: the value when no parameter is below the path. Without one that is an error.

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
        build: Callback | None = None,
        close: Callback | None = None,
        ttl: float | None = None,
        default: Any = ...,
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
        read = {"recursive": recursive, "decrypt": decrypt}
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("tree", prefix, None, read, **options)

    @property
    def prefix(self) -> str:
        """The path, which ends in ``/``, or ``env:NAME``."""
        return self.name


class AppConfig(Declaration):
    """An AppConfig configuration: its text, or bytes where it is not UTF-8.

    Example::

        AppConfig("shop", "prod", "flags", "checkout.enabled", default=False)

    Args:
        application: its name or id.
        environment: its name or id.
        profile: the name or id of the configuration profile.
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
        build: Callback | None = None,
        close: Callback | None = None,
        ttl: float | None = None,
        default: Any = ...,
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
        name = "/".join(part.replace("/", "%2F") for part in parts.values())
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("appconfig", name, path, {}, **options)

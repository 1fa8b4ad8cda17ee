"""Declares what Parameter Store and AppConfig hold; imported by handlers that read it."""

from __future__ import annotations

from ._declarations import Declaration, Source, check_text, checked_name
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import EllipsisType
    from typing import Any

    from ._declarations import Transform


class Parameter(Declaration):
    """A Parameter Store parameter; a StringList is a list of strings.

    Args:
        name: its name or ARN.
        path: a JMESPath expression into its JSON.
        version, label: one version or label; the latest version by default.
        decrypt: whether a SecureString is decrypted.
        transform, ttl, default: as for `Secret`.

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
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._keep(default)
        del default
        what = checked_name(name, "parameter")
        if name.endswith("/"):
            raise DeclarationError(f"{what}: a parameter's name ends in no '/'. Use ParameterTree.")
        if ":" in name and not name.startswith("arn:"):
            raise DeclarationError(
                f"{what}: its name has no ':'. Use Parameter(name, version=…) or label=…."
            )
        check_text(what, label=label)
        if version is not None and (type(version) is not int or version < 1):
            raise DeclarationError(f"{what}: version {version!r} is no whole number from 1 on.")
        if version is not None and label is not None:
            raise DeclarationError(f"{what}: it has a version and a label. Give one of them.")
        _check_bool(what, decrypt=decrypt)
        own: dict[str, Any] = {"version": version, "label": label, "decrypt": decrypt}
        source = Source("parameter", name, **own)
        self._declare(source, path, transform, ttl, name=name, **own)


class ParameterTree(Declaration):
    """Every parameter below a path of Parameter Store: a dict keyed by the rest of the name.

    Args:
        prefix: the path, such as ``/prod/app/``.
        recursive: whether to go below the first level.
        decrypt: whether SecureStrings are decrypted.
        transform: as for `Secret`, applied to each parameter's value.
        ttl, default: as for `Secret`; a path below which there is nothing does not exist.

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
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._keep(default)
        del default
        what = checked_name(prefix, "tree")
        if not prefix.startswith("/"):
            raise DeclarationError(
                f"{what}: a tree's prefix begins with '/' (an ARN cannot be read by path). "
                "Use the path, such as /prod/app/."
            )
        _check_bool(what, recursive=recursive, decrypt=decrypt)
        prefix = prefix.rstrip("/") + "/"
        own: dict[str, Any] = {"recursive": recursive, "decrypt": decrypt}
        self._declare(Source("tree", prefix, **own), None, transform, ttl, prefix=prefix, **own)


class AppConfig(Declaration):
    """An AppConfig configuration: its text, or bytes where it is no UTF-8.

    Args:
        application, environment, profile: their names or ids.
        path: a JMESPath expression into its JSON.
        transform, ttl, default: as for `Secret`.

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
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._keep(default)
        del default
        own = {"application": application, "environment": environment, "profile": profile}
        for part in own.values():
            checked_name(part, "AppConfig configuration")
        name = "/".join(part.replace("/", "%2F") for part in own.values())
        self._declare(Source("appconfig", name), path, transform, ttl, **own)


def declare_scheme(name: str, path: str | None) -> Declaration:
    """Return the declaration that a name with a scheme, or a parameter's ARN, says.

    Raises:
        DeclarationError: when the scheme is unknown, or the rest is not as it wants it.
    """
    text = name if path is None else f"{name}#{path}"
    scheme, _, rest = name.partition(":")
    if scheme == "arn":
        return Parameter(name, path)
    if scheme == "ssm":
        if not rest.endswith("/"):
            return Parameter(rest, path)
        if path is None:
            return ParameterTree(rest)
        raise DeclarationError(
            f"Cannot declare {text!r}: a tree takes no JMESPath expression. "
            f"Drop '#{path}', or name one parameter."
        )
    if scheme == "appconfig":
        parts = rest.split("/")
        if len(parts) == 3:
            return AppConfig(parts[0], parts[1], parts[2], path)
        raise DeclarationError(
            f"Cannot declare {text!r}: it is not appconfig:application/environment/profile. "
            "Use AppConfig(…) for a name with a '/' in it."
        )
    raise DeclarationError(
        f"Cannot declare {text!r}: the scheme {scheme!r} is unknown. "
        "Use a Secrets Manager name or ARN, 'ssm:…' or 'appconfig:…'."
    )


def _check_bool(what: str, **options: object) -> None:
    for option, value in options.items():
        if not isinstance(value, bool):
            raise DeclarationError(f"{what}: {option} {value!r} is neither True nor False.")

"""The declarations other than `Secret`, and the strings with a scheme or an ARN.

An ARN may have the form of ECS; the scheme ``env:`` reads the string from a variable.
"""

from __future__ import annotations

import json
from contextlib import suppress

from ._options import declared_by, is_arn_of, variable_in, wrong_name
from ._secret import Declaration, Secret
from ._sources import Source
from ._values import opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._extract import Callback, Transform

_ECS_FIELDS = 10  # of arn:partition:secretsmanager:region:account:secret:name:key:stage:version


class Parameter(Declaration):
    """A Parameter Store parameter: its text; a list of strings for a StringList.

    Example::

        Parameter("/prod/workers", transform=int, default=4)

    Args:
        name: its name or ARN, or ``env:NAME`` for the variable that holds it.
        path: a JMESPath expression into its JSON.
        version: one version. None: the latest.
        label: one label; not allowed together with ``version``.
        decrypt: whether a SecureString is decrypted.
        transform, build, close, ttl, default: as for `Secret`.

    Raises:
        DeclarationError: when an argument is wrong.
    """

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
        default = opaque(default)  # a traceback can show locals
        read = {"version": version, "label": label, "decrypt": decrypt}
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("parameter", name, path, read, default, **options)


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
        default: the value when no parameter is below the path. Without a default, that is an error.

    Raises:
        DeclarationError: when an argument is wrong.
    """

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
        default = opaque(default)  # a traceback can show locals
        if variable_in(prefix, "tree") is None:
            prefix = prefix.rstrip("/") + "/"
        read = {"recursive": recursive, "decrypt": decrypt}
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("tree", prefix, None, read, default, **options)

    @property
    def prefix(self) -> str:
        """The path, which ends in ``/``, or ``env:NAME``."""
        return self.name


class AppConfig(Declaration):
    """An AppConfig configuration: its text, or bytes if it is not UTF-8.

    Example::

        AppConfig("shop", "prod", "flags", "checkout.enabled", default=False)

    Args:
        application: the name or id of the application.
        environment: the name or id of the environment.
        profile: the name or id of the configuration profile.
        path: a JMESPath expression into its JSON.
        transform, build, close, ttl, default: as for `Secret`.

    Raises:
        DeclarationError: when an argument is wrong.
    """

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
        default = opaque(default)  # a traceback can show locals
        parts = {"application": application, "environment": environment, "profile": profile}
        for part in parts.values():
            if variable_in(part, "AppConfig configuration"):
                raise DeclarationError(
                    f"Cannot declare AppConfig configuration {part!r}: it takes no env:NAME. "
                    "Declare 'env:NAME', with appconfig:application/environment/profile in the "
                    "variable."
                )
        self._freeze(**parts)
        name = "/".join(part.replace("/", "%2F") for part in parts.values())
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("appconfig", name, path, {}, default, **options)


class Variable(Declaration):
    """The string form ``env:NAME``: an environment variable holds the declaration."""

    def __init__(self, name: str, path: str | None) -> None:
        options = dict.fromkeys(("transform", "build", "close", "ttl"))
        self._declare("env", name, path, {}, opaque(...), **options)

    def resolved(self) -> Declaration:
        """Return the declaration in the environment variable; a path given here wins."""
        form = "a declaration, such as prod/db#@ or an ARN"
        if self.path is not None:
            form += " (without the JSON key of the ECS form, since the code has a path)"
        return declared_by(self, self._parsed, form)  # type: ignore[no-any-return]  # it is one

    def _parsed(self, text: str) -> Declaration:
        name, mark, path = text.partition("#")
        if self.path is not None:
            mark, path = "#", self.path
        declared = Secret if ":" not in name else declare_scheme
        return declared(name, path if mark else None)


def declare_scheme(name: str, path: str | None) -> Declaration:
    """Return the declaration for a name with a scheme, or for an ARN."""
    text = name if path is None else f"{name}#{path}"
    scheme, _, rest = name.partition(":")
    head, mark, _ = name.partition("://")
    if not mark and ("${" in name or "{{" in name):
        raise DeclarationError(wrong_name(name, "env"))
    if scheme == "arn":
        fields = name.split(":")
        if len(fields) == _ECS_FIELDS and is_arn_of("secret", ":".join(fields[:7])):
            return _ecs_form(text, fields, path)
        return Secret(name, path) if fields[2:3] == ["secretsmanager"] else Parameter(name, path)
    if scheme == "env":
        return Variable(name, path)
    if scheme == "ssm":
        if rest.startswith("//"):
            raise DeclarationError(
                f"Cannot declare {text!r}: the scheme is 'ssm:', without '//'. "
                f"Use 'ssm:/{rest.lstrip('/')}'."
            )
        if not rest.endswith("/"):
            return Parameter(rest, path)
        if path is None:
            return ParameterTree(rest)
        raise DeclarationError(
            f"Cannot declare {text!r}: a tree takes no JMESPath expression. "
            f"Drop '#{path}', or name one parameter."
        )
    if scheme == "appconfig":
        return _appconfig(text, rest.split("/"), path)
    shown = f"{head}://…" if mark else text  # a URL may hold a password
    raise DeclarationError(
        f"Cannot declare {shown!r}: the scheme {scheme!r} is unknown. "
        "Use a Secrets Manager name or ARN, 'ssm:…', 'appconfig:…' or 'env:…'."
    )


def _appconfig(text: str, parts: list[str], path: str | None) -> AppConfig:
    if len(parts) == 3:
        return AppConfig(parts[0], parts[1], parts[2], path)
    raise DeclarationError(
        f"Cannot declare {text!r}: use appconfig:application/environment/profile, or "
        "AppConfig(…) for a name with a '/' in it."
    )


def _ecs_form(text: str, fields: list[str], path: str | None) -> Secret:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html."""
    key, stage, version = fields[7:]
    if key and path is not None:
        raise DeclarationError(
            f"Cannot declare {text!r}: it has both a JSON key and a JMESPath expression. "
            f"Drop ':{key}' or '#{path}'."
        )
    # The key is a literal, which JMESPath writes in quotes.
    return Secret(
        ":".join(fields[:7]),
        json.dumps(key, ensure_ascii=False) if key else path,
        version_stage=stage or None,
        version_id=version or None,
    )


def effective(declaration: Declaration, backend: Any) -> Declaration:
    """Return `resolved()`, unless the backend is an override that lists ``env:NAME`` itself."""
    variable = declaration.variable or ""
    if not (hasattr(type(backend), "holds_variable") and backend.holds_variable(variable)):
        return declaration.resolved()
    named: Declaration = declaration
    if declaration.path is None:
        with suppress(DeclarationError):  # the variable may hold anything
            named = declaration.resolved()
    return of_variable(declaration, path=named.path, search=named.search)


def of_variable(declaration: Declaration, **fields: Any) -> Declaration:
    """Return a copy that stands for the variable itself, whatever it holds."""
    copy = object.__new__(Declaration)
    source = Source(
        "env",
        declaration.variable or "",
        version_id=getattr(declaration, "version_id", None),
        version_stage=getattr(declaration, "version_stage", None),
    )
    copy._freeze(**{**vars(declaration), **fields, "_source": source, "variable": None})
    return copy

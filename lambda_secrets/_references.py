"""Reads declaration strings that point elsewhere: by scheme, in ECS's form, in a variable."""

from __future__ import annotations

import json
from contextlib import suppress

from ._explain import wrong_name
from ._kinds import AppConfig, Parameter, ParameterTree
from ._options import declared_by, is_arn_of
from ._secret import Declaration, Secret
from ._sources import Compared, Source
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ECS_FIELDS = 10  # of arn:partition:secretsmanager:region:account:secret:name:key:stage:version


class Variable(Declaration):
    """The string form ``env:NAME``: the declaration is what the environment variable says."""

    __slots__ = ()

    def __init__(self, name: str, path: str | None) -> None:
        self._hide(...)
        options = dict.fromkeys(("transform", "build", "close", "ttl"))
        self._declare("env", name, path, {}, **options)

    def resolved(self) -> Declaration:
        """Return what the environment variable declares; a path given here wins.

        Raises:
            DeclarationError: when the variable is unset, empty or wrong; it never shows its text.
        """
        return declared_by(self, self._parsed)  # type: ignore[no-any-return]  # what it returns

    def _parsed(self, text: str) -> Declaration:
        name, mark, path = text.partition("#")
        if self.path is not None:
            mark, path = "#", self.path
        declared = Secret if ":" not in name else declare_scheme
        return declared(name, path if mark else None)


def declare_scheme(name: str, path: str | None) -> Declaration:
    """Return the declaration that a name with a scheme, or another ARN, says.

    Raises:
        DeclarationError: when the scheme is unknown, or the rest is not as it wants it.
    """
    text = name if path is None else f"{name}#{path}"
    scheme, _, rest = name.partition(":")
    if "${" in name or "{{" in name:
        raise DeclarationError(wrong_name(name, "secret"))
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
                f"Use 'ssm:{rest[1:]}'."
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
    raise DeclarationError(
        f"Cannot declare {text!r}: the scheme {scheme!r} is unknown. "
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
            f"Cannot declare {text!r}: it has a JSON key and a JMESPath expression. "
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
    """Return the declaration to use through a backend; an override may have ``env:NAME`` itself.

    Raises:
        DeclarationError: as `resolved` does.
    """
    variable = declaration.variable or ""
    if not (hasattr(type(backend), "holds_variable") and backend.holds_variable(variable)):
        return declaration.resolved()
    named: Declaration = declaration
    if declaration.path is None:
        with suppress(DeclarationError):  # the variable may hold anything
            named = declaration.resolved()
    slots = (*Compared.__slots__, *Declaration.__slots__)
    fields = {slot: getattr(declaration, slot) for slot in slots}
    fields |= {"_source": Source("env", variable), "variable": None}
    stand_in = object.__new__(Declaration)
    stand_in._freeze(**{**fields, "path": named.path, "search": named.search})
    return stand_in

"""Reads declaration strings that point elsewhere: by scheme, in ECS's form, in a variable."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from ._declarations import Declaration, Secret, Source, declare
from ._kinds import AppConfig, Parameter, ParameterTree
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OPTIONS = ("transform", "build", "close", "ttl")
_ECS_FIELDS = 10  # of arn:partition:secretsmanager:region:account:secret:name:key:stage:version


class Variable(Declaration):
    """The string form ``env:NAME``: the declaration is what the environment variable says."""

    __slots__ = ()

    def __init__(self, name: str, path: str | None) -> None:
        self._hide(...)
        callbacks = {"transform": None, "build": None, "close": None}
        self._declare("env", name, path, {}, **callbacks, ttl=None)


def variable_in(name: object, kind: str) -> str | None:
    """Return the environment variable that an ``env:NAME`` names, or None for another good name.

    Raises:
        DeclarationError: which says why it cannot be a name.
    """
    if isinstance(name, str) and name.isprintable() and name == name.strip() != "":
        scheme, colon, rest = name.partition(":")
        if colon and scheme == "env" and rest and not set(rest) & set(" #=:"):
            return rest
        wrong = "${" in name or "{{" in name or name == "None" or "#" in name
        if scheme == "arn":
            wrong = wrong or not _is_arn_of(kind, name)
        elif colon:
            wrong = wrong or scheme in {"ssm", "appconfig", "env"}
        if not wrong:
            return None
    from ._explain import wrong_name

    raise DeclarationError(wrong_name(name, kind))


def _is_arn_of(kind: str, name: str) -> bool:
    """Whether it is arn:partition:service:region:account:resource of such a thing."""
    fields = name.split(":")
    service, resource = fields[2:3], fields[5:]
    if kind == "secret":
        return service == ["secretsmanager"] and resource[:-1] == ["secret"] and resource[-1] != ""
    return service == ["ssm"] and len(resource) == 1 and resource[0].startswith("parameter/")


def declare_scheme(name: str, path: str | None) -> Declaration:
    """Return the declaration that a name with a scheme, or another ARN, says.

    Raises:
        DeclarationError: when the scheme is unknown, or the rest is not as it wants it.
    """
    text = name if path is None else f"{name}#{path}"
    scheme, _, rest = name.partition(":")
    if scheme == "arn":
        fields = name.split(":")
        if len(fields) == _ECS_FIELDS and _is_arn_of("secret", ":".join(fields[:7])):
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
        parts = rest.split("/")
        if len(parts) == 3:
            return AppConfig(parts[0], parts[1], parts[2], path)
        raise DeclarationError(
            f"Cannot declare {text!r}: use appconfig:application/environment/profile, or "
            "AppConfig(…) for a name with a '/' in it."
        )
    raise DeclarationError(
        f"Cannot declare {text!r}: the scheme {scheme!r} is unknown. "
        "Use a Secrets Manager name or ARN, 'ssm:…', 'appconfig:…' or 'env:…'."
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


def resolved(declaration: Declaration) -> Declaration:
    """Return the declaration with the name that its environment variable has.

    Raises:
        DeclarationError: when the variable is unset, empty or wrong; it never shows its text.
    """
    variable = declaration.variable
    text = os.environ.get(variable or "", "")
    if not text:
        raise DeclarationError(
            f"The environment variable {variable} is not set or empty. Set it to the name or ARN "
            "of the secret."
        )
    try:
        if isinstance(declaration, Variable):
            return _parsed(text, declaration.path)
        return _named(declaration, text)
    except DeclarationError:
        form = "the string form of a declaration"
        if not isinstance(declaration, Variable):
            form = "a bare name or ARN, without scheme, '#path' or ECS fields"
    raise DeclarationError(
        f"The environment variable {variable} does not hold {form}. Correct it; its text is not "
        "shown, since it may be a secret."
    )


def effective(declaration: Declaration, backend: Any) -> Declaration:
    """Return the declaration to use through a backend; an override may have ``env:NAME`` itself.

    Raises:
        DeclarationError: as `resolved` does.
    """
    variable = declaration.variable or ""
    holds = getattr(backend, "holds_variable", None)
    if holds is None or not holds(variable):
        return resolved(declaration)
    named: Declaration = declaration
    if declaration.path is None:
        with suppress(DeclarationError):  # the variable may hold anything
            named = resolved(declaration)
    stand_in = object.__new__(Variable)
    options = {slot: getattr(declaration, slot) for slot in Declaration.__slots__}
    options |= {"_source": Source("env", variable), "variable": None}
    options |= {"path": named.path, "search": named.search}
    stand_in._freeze(**options)
    return stand_in


def _parsed(text: str, path: str | None) -> Declaration:
    if text.startswith("env:"):
        raise DeclarationError("An environment variable must not name another one.")
    if path is None:
        return declare(text)
    name = text.partition("#")[0]
    return declare(f"{name}#{path}")


def _named(declaration: Any, name: str) -> Declaration:
    """Return a copy of a declaration object with that name."""
    if name.startswith("env:"):
        raise DeclarationError("An environment variable must not name another one.")
    kind: Any = type(declaration)
    options = {slot: getattr(declaration, slot) for slot in (*kind.__slots__, *_OPTIONS)}
    if kind is Secret:
        options["pending"] = declaration.pending
    if kind is not ParameterTree:
        options["path"] = declaration.path
    return kind(name, **options, default=declaration.default)  # type: ignore[no-any-return]  # its class

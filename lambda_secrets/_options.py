"""Checks unusual names and options, which few declarations and backends have.

The text of an environment variable that names a secret is never shown.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress

from ._flags import COROUTINE, flags_of
from ._sources import check_seconds
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OF_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+=.@!-")
_SCHEMES = ("ssm", "appconfig", "env")
_FLAGS = ("decrypt", "recursive")
_CALLBACKS = ("transform", "build", "close")
_ASYNC = (
    "a coroutine function: an async pool belongs to one event loop. Make it in the application's "
    "lifespan"
)


def variable_in(name: object, kind: str) -> str | None:
    """Return the environment variable that an ``env:NAME`` names, or None for other valid names."""
    if isinstance(name, str) and name.isprintable() and name == name.strip():
        variable = name.removeprefix("env:")
        if variable not in ("", name) and not set(variable) & set(" #=:"):
            return variable
    problem = wrong_name(name, kind)
    if problem:
        raise DeclarationError(problem)
    return None


def wrong_name(name: object, kind: str) -> str:
    """Return why something cannot be the name of a secret or parameter; empty if it can."""
    of_kind = "Cannot declare" if kind == "env" else f"Cannot declare {kind}"
    what = f"{of_kind} {name!r}"
    if name is None or name == "None":
        return (
            f"{what}: an environment variable was probably unset when this name was made. Set it, "
            "or declare 'env:NAME', whose error names the variable."
        )
    if not isinstance(name, str):  # it may be the secret itself
        return f"{of_kind}: use a non-empty string as the name, not {type(name).__name__}."
    if not name.strip():
        return f"{what}: use a non-empty string as the name."
    head, mark, _ = name.partition("://")
    if mark and head not in _SCHEMES:  # it may hold a password
        return f"{of_kind} '{head}://…': use a name or an ARN, not a URL."
    if "#" in name:
        return f"{what}: a name must not contain '#'. Give the JMESPath expression as path=."
    if name != name.strip() or not name.isprintable():
        return f"{what}: remove the white space around it and its control characters."
    if "${" in name or "{{" in name:
        return f"{what}: it has a placeholder that was not filled in. Check the template."
    return _not_of_kind(kind, name, what)


def _not_of_kind(kind: str, name: str, what: str) -> str:
    """Return why a name is not one of this kind; empty if it may be."""
    scheme, colon, rest = name.partition(":")
    is_arn = name.startswith("arn:")
    if is_arn and not is_arn_of(kind, name):
        return _wrong_arn(name, kind, what)
    if colon and scheme == "env":
        return f"{what}: give the name of one environment variable after 'env:'."
    if colon and scheme in _SCHEMES:
        if kind == "secret":
            return f"{what}: that is the string form of another kind. Use Parameter or AppConfig."
        return f"{what}: drop the '{scheme}:' prefix: objects take the bare name, here {rest!r}."
    if kind == "tree" and not name.startswith("/"):
        return (
            f"{what}: a tree's prefix must begin with '/' (an ARN cannot be read by path). Use the "
            "path, such as /prod/app/."
        )
    if kind == "parameter" and name.endswith("/"):
        return f"{what}: a parameter name must not end in '/'. Use ParameterTree for a path."
    if kind == "parameter" and colon and not is_arn:
        return f"{what}: a parameter name must not contain ':'; use version= or label=."
    return ""


def _wrong_arn(name: str, kind: str, what: str) -> str:
    if kind == "secret" and is_arn_of(kind, ":".join(name.split(":")[:7])):
        return (
            f"{what}: the ECS form ends in three fields, json-key:version-stage:version-id, some "
            "of them empty. Objects take path=, version_stage= and version_id= instead."
        )
    known = name.split(":")[2:3] in (["secretsmanager"], ["ssm"])
    kinds = kind if known else "secret or parameter"
    return f"{what}: it is not the ARN of a {kinds}. Copy the whole ARN from AWS."


def is_arn_of(kind: str, name: str) -> bool:
    """Whether a name is an ARN (arn:partition:service:region:account:resource) of this kind."""
    fields = name.split(":")
    service, resource = fields[2:3], fields[5:]
    if kind == "secret":
        return service == ["secretsmanager"] and resource[:-1] == ["secret"] and resource[-1] != ""
    return service == ["ssm"] and len(resource) == 1 and resource[0].startswith("parameter/")


def declared_by(declaration: Any, declare: Callable[[str], Any], form: str) -> Any:
    """Return the declaration in the text of a variable; errors never show that text."""
    variable = declaration.variable
    if not os.environ.get(variable):
        raise DeclarationError(
            f"The environment variable {variable} is unset or empty. Set it to the name or ARN of "
            f"the secret, or in a test list 'env:{variable}' in override_secrets."
        )
    found = _declared_by(variable, declare)
    if found is None:
        raise DeclarationError(
            f"The environment variable {variable} does not hold {form}. Correct it; its text is "
            "not shown, since it may be a secret."
        )
    found._freeze(convert=declaration.convert)  # noqa: SLF001 - the copy is not used before
    return found


def _declared_by(variable: str, declare: Callable[[str], Any]) -> Any:
    """Return the declaration, or None if the text is wrong: a traceback from here would show it."""
    with suppress(DeclarationError):
        found = declare(os.environ[variable])
        if found.variable:  # a variable must not name another one
            return None
        # Text that cannot be a name in AWS may be the secret itself, and errors would show it.
        name = found.name.replace(":", "") if found.name.startswith("arn:") else found.name
        free = found.source.kind == "appconfig"
        return found if free or set(name) <= _OF_NAMES else None
    return None


def named(declaration: Any) -> Any:
    """Return a copy of a declaration object, with the name that its variable holds."""
    form = "a bare name or ARN, without scheme, '#path' or ECS fields"
    return declared_by(declaration, lambda name: _named(declaration, name), form)


def _named(declaration: Any, name: str) -> Any:
    kind: Any = type(declaration)
    options = {option: getattr(declaration, option) for option in kind.__init__.__kwdefaults__}
    if declaration.path is not None:
        options["path"] = declaration.path
    return kind(name, **options)


def checked(kind: str, name: str, options: dict[str, Any]) -> str | None:
    """Check the arguments of a declaration; return the environment variable in its name, if any.

    Raises:
        DeclarationError: when one is wrong.
    """
    variable = variable_in(name, kind)
    what = f"Cannot declare {name!r}"
    for option, value in options.items():
        expected = "" if value is None and option not in _FLAGS else _expected(option, value)
        if expected:
            if option not in _CALLBACKS or (option == "transform" and isinstance(value, str)):
                shown = repr(value)
            elif callable(value):
                shown = "a coroutine function" if option == "transform" else _ASYNC
            else:
                shown = type(value).__name__
            raise DeclarationError(f"{what}: {option} must be {expected}, not {shown}.")
    if options["ttl"] is not None:
        check_seconds(options["ttl"], f"{what}: ttl")
    if options["close"] is not None and options["build"] is None:
        raise DeclarationError(f"{what}: close= needs build=: it closes the built object.")
    if options.get("version") is not None and options.get("label") is not None:
        raise DeclarationError(f"{what}: give version or label, not both.")
    if options.get("pending") and (options["version_id"] or options["version_stage"]):
        raise DeclarationError(
            f"{what}: pending=True needs the current version. Drop version_id= and version_stage=."
        )
    return variable


def _expected(option: str, value: Any) -> str:
    """Return what an option must be; empty if its value is valid."""
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
    if option in _CALLBACKS:
        if not callable(value):
            if option != "transform":
                return "a callable"
            fits = isinstance(value, str) and value in {"json", "binary"}
            return "" if fits else "'json', 'binary' or a callable"
        return "a plain function" if flags_of(value) & COROUTINE else ""
    return ""


def check_resolving(timeout: float, jitter: float, observer: Any) -> None:
    """Raise a `DeclarationError` if one of these options of a resolver is wrong."""
    problem = ""
    if jitter > 1:
        from ._explain import wrong_number

        problem = wrong_number("jitter", jitter)
    elif not 0 < timeout < float("inf"):
        problem = f"timeout must be a finite number of seconds above 0, not {timeout!r}."
    elif observer is not None and (not callable(observer) or flags_of(observer) & COROUTINE):
        kind = "a coroutine function" if callable(observer) else type(observer).__name__
        problem = f"observer must be a plain function that takes one event, not {kind}."
    if problem:
        raise DeclarationError(problem)


# Of backends


def environments_ttl(kind: str, ours: str, secrets: str, parameters: str) -> float | None:
    """Return the TTL of the first variable that is set for a kind: ours, then the extension's."""
    theirs = {"secret": secrets, "appconfig": ours}.get(kind, parameters)
    variable = ours if os.environ.get(ours) else theirs
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise DeclarationError(
            f"The environment variable {variable} must be a number of seconds ≥ 0, not {text!r}."
        )
    return seconds


def wrong_aws_option(*, batch: object, region: object) -> DeclarationError:
    """Return the error for the option that has the wrong type."""
    if not isinstance(batch, bool):
        return DeclarationError(f"Cannot read from AWS: batch={batch!r} must be True or False.")
    return DeclarationError(
        f"Cannot read from AWS: region={region!r} must be a string such as 'eu-central-1'."
    )


def unknown_backend(given: object, chosen: object) -> DeclarationError:
    """Return the error for a value that is neither a backend nor the name of one."""
    got = type(chosen).__name__  # not shown: it may be the values, without a MemoryBackend
    if isinstance(chosen, str):
        got = repr(chosen) if chosen == given else f"{chosen!r} (from LAMBDA_SECRETS_BACKEND)"
    elif isinstance(chosen, type):
        got = f"the class {chosen.__name__}. Pass an object: {chosen.__name__}()"
    return DeclarationError(
        "Cannot use this backend: expected 'auto', 'extension', 'aws', 'sdk', 'file' or an object "
        f"with a fetch() method, got {got}."
    )


def unknown_extension(given: object) -> DeclarationError:
    """Return the error for a value that is not a backend of the extension."""
    got = type(given).__name__
    return DeclarationError(f"Cannot use this extension: expected an ExtensionBackend, got {got}.")


def file_named_by(path: str | None) -> str:
    """Return the path for the backend "file", which its variable must name."""
    if not path:
        raise DeclarationError(
            "Cannot use backend 'file': LAMBDA_SECRETS_FILE is not set. "
            "Set it to a TOML or JSON file, or use FileBackend(path)."
        )
    return path


def check_ports(*ports: object) -> None:
    """Raise a `DeclarationError` unless each is None or a port."""
    for port in ports:
        if port is not None and not (type(port) is int and 0 < port < 65536):
            raise DeclarationError(
                f"Cannot use port {port!r}: a port must be a number from 1 to 65535."
            )

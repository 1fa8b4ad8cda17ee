"""Turns declaration strings and objects into frozen declarations: what to read, and what of it."""

from __future__ import annotations

import functools
import json

from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import EllipsisType
    from typing import Any, Literal, Self, TypeAlias

    from ._kinds import (
        AppConfig as AppConfig,
        Parameter as Parameter,
        ParameterTree as ParameterTree,
    )

    Transform: TypeAlias = Literal["json", "binary"] | Callable[[Any], Any]


class Unfit:
    """Why a value is not what its declaration says; returned: raised, it would carry the value."""

    __slots__ = ("absent", "reason")

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        self.reason: str = reason
        self.absent: bool = absent


class _Frozen:
    """Compares by its fields, hashes, never changes and never pickles (a default can be secret)."""

    __slots__ = ("_fields", "_hash")
    _fields: tuple[Any, ...]
    _hash: int

    def _freeze(self, **fields: Any) -> None:
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        object.__setattr__(self, "_fields", tuple(fields.values()))
        # A default or a transform need not be hashable, and a hash need not know them.
        known = [value for field, value in fields.items() if field not in {"default", "transform"}]
        object.__setattr__(self, "_hash", hash((type(self), *known)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Cannot set {name!r}: a {type(self).__name__} is frozen.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Cannot delete {name!r}: a {type(self).__name__} is frozen.")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._fields == other._fields

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> str:
        raise TypeError(f"Cannot pickle a {type(self).__name__}: it may hold a secret.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Source(_Frozen):
    """What one fetch reads: a backend's unit of work and the cache's key.

    Attributes:
        kind: ``"secret"``, ``"parameter"``, ``"tree"`` or ``"appconfig"``.
        name: the name or ARN; a tree's prefix, which ends in ``/``; for AppConfig
            ``application/environment/profile``, with a ``/`` inside one of them as ``%2F``.
        version_id, version_stage: of a secret; None means the current one.
        version, label: of a parameter; None means the latest one.
        decrypt: whether a SecureString parameter is decrypted.
        recursive: whether a tree goes below its first level.
    """

    __slots__ = (
        "decrypt",
        "kind",
        "label",
        "name",
        "recursive",
        "version",
        "version_id",
        "version_stage",
    )
    kind: Literal["secret", "parameter", "tree", "appconfig"]
    name: str
    version_id: str | None
    version_stage: str | None
    version: int | None
    label: str | None
    decrypt: bool
    recursive: bool

    def __init__(
        self,
        kind: Literal["secret", "parameter", "tree", "appconfig"],
        name: str,
        *,
        version_id: str | None = None,
        version_stage: str | None = None,
        version: int | None = None,
        label: str | None = None,
        decrypt: bool = True,
        recursive: bool = True,
    ) -> None:
        self._freeze(
            kind=kind,
            name=name,
            version_id=version_id,
            version_stage=version_stage,
            version=version,
            label=label,
            decrypt=decrypt,
            recursive=recursive,
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Application, environment and profile of an AppConfig source."""
        return tuple(part.replace("%2F", "/") for part in self.name.split("/"))

    @property
    def versioned(self) -> bool:
        """Whether one version is asked for, not the current one."""
        return any((self.version_id, self.version_stage, self.version, self.label))

    def spelled(self, path: str | None = None) -> str:
        """The declaration string; what a string cannot say follows in brackets."""
        scheme = {"secret": "", "appconfig": "appconfig:"}.get(self.kind, "ssm:")
        options = [
            f"{field}={getattr(self, field)}"
            for field in ("version_id", "version_stage", "version", "label")
            if getattr(self, field) is not None
        ]
        options += [
            f"{field}=False" for field in ("decrypt", "recursive") if not getattr(self, field)
        ]
        return (
            ("" if self.name.startswith("arn:") else scheme)
            + self.name
            + (f"#{path}" if path is not None else "")
            + (f" ({', '.join(options)})" if options else "")
        )

    def __str__(self) -> str:
        return self.spelled()

    def __repr__(self) -> str:
        return f"<Source {self}>"


class Declaration(_Frozen):
    """What every declaration has: a source, and how its text becomes a value."""

    __slots__ = ("default", "path", "search", "source", "transform", "ttl")
    source: Source
    path: str | None
    transform: Transform | None
    ttl: float | None
    default: Any
    search: Callable[[Any], Any] | None

    def _declare(
        self,
        source: Source,
        path: str | None,
        transform: Transform | None,
        ttl: float | None,
        **own: Any,
    ) -> None:
        what = f"Cannot declare {source}"
        known = transform in {"json", "binary"} if isinstance(transform, str) else transform is None
        if not (known or callable(transform)):
            is_text = isinstance(transform, str)
            shown = repr(transform) if is_text else f"of type {type(transform).__name__}"
            raise DeclarationError(
                f"{what}: transform {shown} is unknown. Use 'json', 'binary' or a callable."
            )
        if ttl is not None:
            check_seconds(ttl, f"{what}: ttl")
        search = None if path is None else _compiled(path, what)
        for field, value in {"search": search, **own}.items():
            object.__setattr__(self, field, value)
        self._freeze(source=source, path=path, transform=transform, ttl=ttl, default=self.default)

    def _keep(self, default: Any) -> None:
        """Take the default out of the locals of a constructor: its traceback can show them."""
        object.__setattr__(self, "default", default)

    def with_default(self, default: Any) -> Self:
        """Return the same declaration with that default."""
        made = object.__new__(type(self))
        for field in ("search", *type(self).__slots__):
            object.__setattr__(made, field, getattr(self, field))
        made._freeze(
            source=self.source,
            path=self.path,
            transform=self.transform,
            ttl=self.ttl,
            default=default,
        )
        return made

    def extract(self, raw: Any) -> Any:
        """Return the declared value of what the backend read, or an `Unfit`."""
        value = raw
        if self.transform is not None:
            from ._transforms import transformed

            value = transformed(raw, self.transform)
        if self.search is None or isinstance(value, Unfit):
            return value
        data = parsed_json(value) if isinstance(value, (str, bytes)) else value
        if isinstance(data, Unfit):
            return data
        try:
            found = self.search(data)
        except Exception as error:  # noqa: BLE001 - JMESPath's errors quote the value
            return Unfit(f"the JMESPath expression does not fit the value ({type(error).__name__})")
        if found is None:
            return Unfit("the JMESPath expression matches nothing in it", absent=True)
        return found

    def __str__(self) -> str:
        return self.source.spelled(self.path)

    def __repr__(self) -> str:
        shown = [repr(str(self))]
        if self.transform is not None:
            shown.append(f"transform={_named(self.transform)}")
        if self.ttl is not None:
            shown.append(f"ttl={self.ttl}")
        if self.default is not ...:
            shown.append("default=***")
        return f"<{type(self).__name__} {', '.join(shown)}>"


class Secret(Declaration):
    """A Secrets Manager secret.

    Args:
        name: its name or ARN.
        path: a JMESPath expression into its JSON.
        version_id, version_stage: one version or staging label; the current one by default.
        transform: ``"json"``, ``"binary"`` (base64 text to bytes) or a callable; before the path.
        ttl: seconds; the decorator's by default.
        default: the value when the secret does not exist or the path matches nothing.

    Raises:
        DeclarationError: when an argument is wrong.
    """

    __slots__ = ("name", "version_id", "version_stage")
    name: str
    version_id: str | None
    version_stage: str | None

    def __init__(
        self,
        name: str,
        path: str | None = None,
        *,
        version_id: str | None = None,
        version_stage: str | None = None,
        transform: Transform | None = None,
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._keep(default)
        del default
        what = checked_name(name, "secret")
        check_text(what, version_id=version_id, version_stage=version_stage)
        own: dict[str, Any] = {"version_id": version_id, "version_stage": version_stage}
        self._declare(Source("secret", name, **own), path, transform, ttl, name=name, **own)


def declare(declaration: str | Declaration) -> Declaration:
    """Return the declaration that a string ``[scheme:]name[#jmespath]`` says; an object as it is.

    Raises:
        DeclarationError: when it says nothing that can be read.
    """
    if isinstance(declaration, Declaration):
        return declaration
    if not isinstance(declaration, str):
        raise DeclarationError(
            f"Cannot declare a {type(declaration).__name__}: it is no declaration. "
            "Use a string such as 'prod/db#user', or Secret, Parameter, ParameterTree or AppConfig."
        )
    name, mark, expression = declaration.partition("#")
    path = expression if mark else None
    scheme, colon, rest = name.partition(":")
    if not colon or (scheme == "arn" and rest.split(":")[1:2] != ["ssm"]):
        return Secret(name, path)
    from ._kinds import declare_scheme

    return declare_scheme(name, path)


def declare_all(declarations: Mapping[str, str | Declaration]) -> dict[str, Declaration]:
    """Return the declarations of a mapping by declared name.

    Raises:
        DeclarationError: which names the declared name too.
    """
    if not hasattr(declarations, "items"):
        raise DeclarationError(
            f"Cannot declare secrets from a {type(declarations).__name__}: it maps no names. "
            "Use a mapping such as {'db': 'prod/db#@'}."
        )
    declared = {}
    for name, declaration in declarations.items():
        if not (isinstance(name, str) and name):  # a caller without a type checker
            raise DeclarationError(
                f"Cannot declare a secret as {name!r}: that is no name. Use a non-empty string."
            )
        try:
            declared[name] = declare(declaration)
        except DeclarationError as error:
            message = str(error)
        else:
            continue
        raise DeclarationError(f"{name!r}: {message}")
    return declared


def check_seconds(seconds: Any, what: str) -> None:
    """Raise a `DeclarationError` unless it is a number of seconds from 0 on, or infinity."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (is_number and seconds >= 0):  # NaN is not
        raise DeclarationError(f"{what} {seconds!r} is no number of seconds. Use 0 or more.")


def parsed_json(text: Any) -> Any:
    """Return what a JSON text says, or an `Unfit` that does not quote it."""
    if not isinstance(text, (str, bytes)):
        return Unfit(f"it is a {type(text).__name__}, not text with JSON in it")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f" (line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError):
        place = ""
    return Unfit(f"it is not JSON{place}")


def _named(transform: Transform) -> str:
    """Return what a transform is called; the repr of a callable may show what it holds."""
    if isinstance(transform, str):
        return transform
    return getattr(transform, "__name__", type(transform).__name__)


def checked_name(name: object, kind: str) -> str:
    """Return how the message of a `DeclarationError` begins; raise one for what is no name."""
    what = f"Cannot declare {kind} {name!r}"
    if not isinstance(name, str) or not name.strip():
        raise DeclarationError(f"{what}: that is no name. Use a non-empty string.")
    if "#" in name:
        raise DeclarationError(f"{what}: no name has a '#'. Give the JMESPath expression as path.")
    if name != name.strip() or not name.isprintable():
        raise DeclarationError(f"{what}: it has white space at an end or a control character.")
    if name.startswith(("ssm:", "appconfig:")):
        if kind == "secret":
            problem = "that is the string form of another kind. Use Parameter or AppConfig."
        else:
            problem = (
                "that is how a string begins. Drop what stands before the first colon, and it."
            )
        raise DeclarationError(f"{what}: {problem}")
    if name.startswith("arn:") and not _is_arn_of(kind, name.split(":")):
        raise DeclarationError(f"{what}: that is not the ARN of a {kind}. Copy it whole from AWS.")
    return what


def _is_arn_of(kind: str, fields: list[str]) -> bool:
    """Whether these are the fields of arn:partition:service:region:account:resource."""
    service, resource = fields[2:3], fields[5:]
    if kind == "secret":
        return service == ["secretsmanager"] and resource[:-1] == ["secret"] and resource[-1] != ""
    return service == ["ssm"] and len(resource) == 1 and resource[0].startswith("parameter/")


def check_text(what: str, **options: object) -> None:
    """Raise a `DeclarationError` for an option that is neither None nor a non-empty string."""
    for option, value in options.items():
        if value is not None and not (isinstance(value, str) and value and value.isprintable()):
            raise DeclarationError(
                f"{what}: {option} {value!r} is no text. Use a non-empty string, or leave it out."
            )


def _compiled(path: object, what: str) -> Callable[[Any], Any]:
    if not isinstance(path, str) or not path.strip():
        raise DeclarationError(
            f"{what}: the JMESPath expression is empty. Use '@' for the whole document."
        )
    # The part of JMESPath that needs no parser, so that most declarations never import one.
    keys = () if path == "@" else tuple(path.split("."))
    if path.isascii() and all(key.isidentifier() for key in keys):
        return functools.partial(_walk, keys)
    from ._expressions import compiled

    return compiled(path, what)


def _walk(keys: tuple[str, ...], data: Any) -> Any:
    """Search as JMESPath does for a dotted path of plain identifiers."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def __getattr__(name: str) -> Any:
    """Import what few handlers declare on its first use: a cold start pays for nothing else."""
    if name not in {"AppConfig", "Parameter", "ParameterTree"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _kinds as parameters

    return getattr(parameters, name)

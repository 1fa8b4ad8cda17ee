"""Turns declaration strings and objects into frozen declarations: what to read, and what of it."""

from __future__ import annotations

import functools
import json

from ._values import Frozen, opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import EllipsisType
    from typing import Any, Literal, TypeAlias

    from ._values import Opaque

    Transform: TypeAlias = Literal["json", "binary"] | Callable[[Any], Any]
    Kind: TypeAlias = Literal["secret", "parameter", "tree", "appconfig", "env"]


class Mismatch:
    """Why a value is not what its declaration says; returned: raised, it would carry the value."""

    __slots__ = ("absent", "reason")

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        self.reason = reason
        self.absent = absent


class _Compared(Frozen):
    """Compares by its fields, and hashes; a default or a callable need not have a hash."""

    __slots__ = ("_hash", "_identity")
    _hash: int
    _identity: tuple[Any, ...]

    def _freeze(self, **fields: Any) -> None:
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def _identify(self, *identity: Any) -> None:
        self._freeze(_identity=identity, _hash=hash(identity[:3]))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash


class Source(_Compared):
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
    kind: Kind
    name: str
    version_id: str | None
    version_stage: str | None
    version: int | None
    label: str | None
    decrypt: bool
    recursive: bool

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        version_id: str | None = None,
        version_stage: str | None = None,
        version: int | None = None,
        label: str | None = None,
        decrypt: bool = True,
        recursive: bool = True,
    ) -> None:
        self._freeze(kind=kind, name=name, version_id=version_id, version_stage=version_stage)
        self._freeze(version=version, label=label, decrypt=decrypt, recursive=recursive)
        self._identify(name, *(getattr(self, field) for field in self.__slots__))

    @property
    def parts(self) -> tuple[str, ...]:
        """Application, environment and profile of an AppConfig source."""
        return tuple(part.replace("%2F", "/") for part in self.name.split("/"))

    @property
    def versioned(self) -> bool:
        """Whether one version is asked for, not the current one."""
        return any((self.version_id, self.version_stage, self.version, self.label))

    def __str__(self) -> str:
        from ._explain import spelled

        return spelled(self, None)

    def __repr__(self) -> str:
        return f"<Source {self}>"


class Declaration(_Compared):
    """What every declaration has: a source, and how its text becomes a value.

    Attributes:
        name: the name or ARN, or ``env:NAME``; of AppConfig as that of its `Source`.
        source: what is read.
        path: the JMESPath expression, or None for the text itself.
        transform, build, close: what is called with the value, as given.
        ttl: seconds, or None for that of the decorator.
        default: the value that stands in for a missing secret; ``...`` for none.
        variable: the environment variable that names the secret (``env:NAME``), or None.
    """

    __slots__ = (
        "_default",
        "_source",
        "build",
        "close",
        "name",
        "path",
        "pending",
        "search",
        "transform",
        "ttl",
        "variable",
    )
    _source: Source | None
    _default: Opaque
    name: str
    path: str | None
    transform: Transform | None
    build: Callable[[Any], Any] | None
    close: Callable[[Any], Any] | None
    pending: bool | None
    ttl: float | None
    search: Callable[[Any], Any] | None
    variable: str | None

    def _declare(
        self, kind: Kind, name: str, path: str | None, read: dict[str, Any], **options: Any
    ) -> None:
        """Check and keep what is given; ``read`` has the options that say what to read."""
        variable = checked_name(name, kind)
        what = f"Cannot declare {kind} {name!r}"
        if kind != "secret" or any(one is not None for one in (*read.values(), *options.values())):
            from ._kinds import check_options

            check_options(what, **read, **options)
        self._freeze(
            _source=None if variable else Source(kind, name, **read),
            variable=variable,
            name=name,
            path=path,
            search=None if path is None else _compiled(path, what),
            **read,
            **{"pending": None, **options},
        )
        self._identify(type(self), name, path, *read.values(), *options.values())

    def _hide(self, default: Any) -> None:
        """Take the default out of the locals of a constructor: its traceback can show them."""
        self._freeze(_default=opaque(default))

    @property
    def default(self) -> Any:
        """The value that stands in for a missing secret; ``...`` for none."""
        return self._default(0)

    @property
    def source(self) -> Source:
        """What is read.

        Raises:
            DeclarationError: when the environment variable that names it is unset or wrong.
        """
        return self._source or self.resolved().source

    def resolved(self) -> Declaration:
        """Return the declaration with the name that its environment variable has.

        Raises:
            DeclarationError: when the variable is unset, empty or wrong; it never shows its text.
        """
        if self.variable is None:
            return self
        from ._references import resolved

        return resolved(self)

    def extract(self, raw: Any) -> Any:
        """Return the declared value of what the backend read, or a `Mismatch`."""
        value = raw
        if self.transform is not None:
            from ._extract import transformed

            value = transformed(raw, self.transform)
        if self.search is None or isinstance(value, Mismatch):
            return value
        data = parsed_json(value) if isinstance(value, (str, bytes)) else value
        if isinstance(data, Mismatch):
            return data
        try:
            found = self.search(data)
        except Exception as error:  # noqa: BLE001 - JMESPath's errors quote the value
            kind = type(error).__name__
            return Mismatch(f"the JMESPath expression does not fit the value ({kind})")
        if found is None:
            return Mismatch("the JMESPath expression matches nothing in it", absent=True)
        return found

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and bool(self.default == other.default)  # type: ignore[attr-defined]  # it is of the same type

    __hash__ = _Compared.__hash__

    def __str__(self) -> str:
        from ._explain import spelled

        return spelled(self._source or f"env:{self.variable}", self.path)

    def __repr__(self) -> str:
        from ._explain import shown

        return shown(self)


class Secret(Declaration):
    """A Secrets Manager secret.

    Args:
        name: its name or ARN, or ``env:NAME`` for the variable that holds it.
        path: a JMESPath expression into its JSON.
        version_id, version_stage: one version or staging label; the current one by default.
        transform: ``"json"``, ``"binary"`` (base64 text to bytes) or a callable; before the path.
        build: called with the value; what it returns is injected, and made anew when, and only
            when, the value has changed.
        close: called with a built object that was replaced, once nobody uses it.
        pending: whether ``refresh_on`` may use the version AWSPENDING during a rotation; by
            default where it differs from the current one in ``password`` alone.
        ttl: seconds; the decorator's by default.
        default: the value when the secret does not exist or the path matches nothing.

    Raises:
        DeclarationError: when an argument is wrong.
    """

    __slots__ = ("version_id", "version_stage")
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
        build: Callable[[Any], Any] | None = None,
        close: Callable[[Any], Any] | None = None,
        pending: bool | None = None,
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._hide(default)
        del default
        self._declare(
            "secret",
            name,
            path,
            {"version_id": version_id, "version_stage": version_stage},
            transform=transform,
            build=build,
            close=close,
            pending=pending,
            ttl=ttl,
        )


def declare(declaration: str | Declaration) -> Declaration:
    """Return the declaration that a string ``[scheme:]name[#jmespath]`` says; an object as it is.

    Raises:
        DeclarationError: when it says nothing that can be read.
    """
    if isinstance(declaration, str):
        return _declared(declaration)
    if isinstance(declaration, Declaration):
        return declaration
    from ._explain import not_a_declaration

    raise DeclarationError(not_a_declaration(declaration))


@functools.lru_cache(maxsize=1024)
def _declared(text: str) -> Declaration:
    name, mark, expression = text.partition("#")
    path = expression if mark else None
    if ":" not in name:
        return Secret(name, path)
    from ._references import declare_scheme

    return declare_scheme(name, path)


def declare_all(declarations: Mapping[str, str | Declaration]) -> dict[str, Declaration]:
    """Return the declarations of a mapping by declared name.

    Raises:
        DeclarationError: which names the declared name too.
    """
    if not hasattr(declarations, "items"):
        from ._explain import not_a_mapping

        raise DeclarationError(not_a_mapping(declarations))
    declared = {}
    for name, declaration in declarations.items():
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"{name!r}: a declared name must be a non-empty string.")
        problem = None
        try:
            declared[name] = declare(declaration)
        except DeclarationError as error:
            problem = f"{name!r}: {error}"
        if problem:  # raised here, it has no context
            raise DeclarationError(problem)
    return declared


def checked_name(name: object, kind: str) -> str | None:
    """Return the environment variable that an ``env:NAME`` names, or None for a good name.

    Raises:
        DeclarationError: which says why it cannot be a name.
    """
    usual = isinstance(name, str) and name.isprintable() and not set(name) & set(" :#{")
    if usual and name not in ("", "None"):
        return None
    from ._references import variable_in

    return variable_in(name, kind)


def check_seconds(seconds: Any, what: str) -> None:
    """Raise a `DeclarationError` unless it is a number of seconds ≥ 0, or infinity."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (is_number and seconds >= 0):  # NaN is not
        raise DeclarationError(f"{what} must be a number of seconds ≥ 0, not {seconds!r}.")


def parsed_json(text: Any) -> Any:
    """Return what a JSON text says, or a `Mismatch` that does not quote it."""
    text = text.removeprefix("\ufeff") if isinstance(text, str) else text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f" (line {error.lineno}, column {error.colno})"
    except RecursionError:
        from ._extract import parsed_apart

        return parsed_apart(text)
    except (TypeError, ValueError):
        place = ""
    return Mismatch(f"it is not JSON{place}")


def _compiled(path: object, what: str) -> Callable[[Any], Any]:
    """Return the search that an expression means."""
    if isinstance(path, str) and path.isascii():
        # The part of JMESPath that needs no parser, so that most declarations never import one.
        keys = () if path == "@" else tuple(path.split("."))
        if all(key.isidentifier() for key in keys):
            return functools.partial(walk, keys)
    from ._extract import compiled

    return compiled(path, what)


def walk(keys: tuple[str, ...], data: Any) -> Any:
    """Search as JMESPath does for a dotted path of plain identifiers."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data

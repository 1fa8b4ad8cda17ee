"""Turns declaration strings and objects into frozen declarations: what to read, and what of it."""

from __future__ import annotations

import functools
import json

from ._values import opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import EllipsisType
    from typing import Any, Literal, NoReturn, Self, TypeAlias

    from ._values import Opaque

    Transform: TypeAlias = Literal["json", "binary"] | Callable[[Any], Any]
    Kind: TypeAlias = Literal["secret", "parameter", "tree", "appconfig", "env"]


class Mismatch:
    """Why a value is not what its declaration says; returned: raised, it would carry the value."""

    __slots__ = ("absent", "reason")

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        self.reason = reason
        self.absent = absent


class _Frozen:
    """Compares by its fields, hashes, never changes and never pickles (a default can be secret)."""

    __slots__ = ("_hash", "_identity")
    _hash: int
    _identity: tuple[Any, ...]

    def _freeze(self, **fields: Any) -> None:
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def _identify(self, hashed: tuple[Any, ...], *compared: Any) -> None:
        self._freeze(_hash=hash(hashed), _identity=(*hashed, *compared))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Cannot set {name!r}: a {type(self).__name__} is frozen.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Cannot delete {name!r}: a {type(self).__name__} is frozen.")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> NoReturn:
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
        options = (version_id, version_stage, version, label, decrypt, recursive)
        self._freeze(kind=kind, name=name, version_id=version_id, version_stage=version_stage)
        self._freeze(version=version, label=label, decrypt=decrypt, recursive=recursive)
        self._identify((kind, name, *options))

    @property
    def parts(self) -> tuple[str, ...]:
        """Application, environment and profile of an AppConfig source."""
        return tuple(part.replace("%2F", "/") for part in self.name.split("/"))

    @property
    def versioned(self) -> bool:
        """Whether one version is asked for, not the current one."""
        return any((self.version_id, self.version_stage, self.version, self.label))

    def spelled(self, path: str | None = None) -> str:
        """Return the declaration string; options that a string cannot say follow in brackets."""
        from ._explain import spelled

        return spelled(self, path)

    def __str__(self) -> str:
        return self.spelled()

    def __repr__(self) -> str:
        return f"<Source {self}>"


class Declaration(_Frozen):
    """What every declaration has: a source, and how its text becomes a value.

    Attributes:
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
        "path",
        "pending",
        "search",
        "transform",
        "ttl",
        "variable",
    )
    _source: Source | None
    _default: Opaque
    path: str | None
    transform: Transform | None
    build: Callable[[Any], Any] | None
    close: Callable[[Any], Any] | None
    pending: bool | None
    ttl: float | None
    search: Callable[[Any], Any] | None
    variable: str | None

    def _declare(self, source: Source | str, path: str | None, **options: Any) -> None:
        """Keep the options; ``source`` is the environment variable's name where that names it."""
        variable = source if isinstance(source, str) else None
        callbacks = {name: options[name] for name in ("transform", "build", "close")}
        if any(callback is not None for callback in callbacks.values()):
            from ._kinds import check_callbacks

            check_callbacks(variable or source, **callbacks)
        if options["ttl"] is not None:
            check_seconds(options["ttl"], f"Cannot declare {variable or source}: ttl")
        search = None if path is None else _compiled(path, variable or source)
        self._freeze(_source=None if variable else source, variable=variable, path=path)
        self._freeze(**{"search": search, "pending": None, **options})
        self._identify((type(self), source, path), *options.values())

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

    __hash__ = _Frozen.__hash__

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
        build: Callable[[Any], Any] | None = None,
        close: Callable[[Any], Any] | None = None,
        pending: bool | None = None,
        ttl: float | None = None,
        default: Any | EllipsisType = ...,
    ) -> None:
        self._hide(default)
        del default
        variable = checked_name(name, "secret")
        options = {"version_id": version_id, "version_stage": version_stage}
        if version_id is not None or version_stage is not None or pending is not None:
            from ._kinds import check_version

            check_version(name, version_id, version_stage, pending)
        self._declare(
            *(variable or Source("secret", name, **options), path),
            **options,
            **{"name": name, "transform": transform, "build": build, "close": close},
            **{"pending": pending, "ttl": ttl},
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
    if ":" not in name or (name.startswith("arn:") and is_arn_of("secret", name)):
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
        problem = "" if isinstance(name, str) and name else "a declared name must be a string"
        try:
            declared[name] = declare(declaration)
        except DeclarationError as error:
            problem = str(error)
        if problem:
            raise DeclarationError(f"{name!r}: {problem}")
    return declared


def checked_name(name: object, kind: str) -> str | None:
    """Return the environment variable that an ``env:NAME`` names, or None for a good name.

    Raises:
        DeclarationError: which says why it cannot be a name.
    """
    if isinstance(name, str) and name.isprintable() and name == name.strip() != "":
        scheme, colon, rest = name.partition(":")
        if colon and scheme == "env" and rest and not set(rest) & set(" #=:"):
            return rest
        unexpanded = "${" in name or "{{" in name or name == "None" or "#" in name
        if not unexpanded and (
            is_arn_of(kind, name)
            if scheme == "arn"
            else not (colon and scheme in {"ssm", "appconfig", "env"})
        ):
            return None
    from ._explain import wrong_name

    raise DeclarationError(wrong_name(name, kind))


def is_arn_of(kind: str, name: str) -> bool:
    """Whether it is arn:partition:service:region:account:resource of such a thing."""
    fields = name.split(":")
    service, resource = fields[2:3], fields[5:]
    if kind == "secret":
        return service == ["secretsmanager"] and resource[:-1] == ["secret"] and resource[-1] != ""
    return service == ["ssm"] and len(resource) == 1 and resource[0].startswith("parameter/")


def check_seconds(seconds: Any, what: str) -> None:
    """Raise a `DeclarationError` unless it is a number of seconds ≥ 0, or infinity."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (is_number and seconds >= 0):  # NaN is not
        raise DeclarationError(f"{what} must be a number of seconds ≥ 0, not {seconds!r}.")


def parsed_json(text: Any) -> Any:
    """Return what a JSON text says, or a `Mismatch` that does not quote it."""
    if not isinstance(text, (str, bytes)):
        return Mismatch(f"it is a {type(text).__name__}, not a JSON text")
    try:
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text)
    except json.JSONDecodeError as error:
        place = f" (line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError):
        place = ""
    return Mismatch(f"it is not JSON{place}")


def _compiled(path: object, what: object) -> Callable[[Any], Any]:
    """Return the search that an expression means."""
    if isinstance(path, str):
        # The part of JMESPath that needs no parser, so that most declarations never import one.
        quoted = path[1:-1] if path[:1] == path[-1:] == '"' else ""
        if quoted and not set(quoted) & set('"\\'):
            return functools.partial(_walk, (quoted,))
        keys = () if path == "@" else tuple(path.split("."))
        if path.isascii() and all(key.isidentifier() for key in keys):
            return functools.partial(_walk, keys)
    from ._extract import compiled

    return compiled(path, f"Cannot declare {what}")


def _walk(keys: tuple[str, ...], data: Any) -> Any:
    """Search as JMESPath does for a dotted path of plain identifiers."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data

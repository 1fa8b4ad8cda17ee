"""The base class of declarations, and the declaration of a secret."""

from __future__ import annotations

import functools

from ._sources import Compared, Mismatch, Source, parsed_json, walk
from ._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._extract import Callback, Transform
    from ._names import Kind, Opaque


class Declaration(Compared):
    """The base of all declarations: a source, and how its text becomes a value.

    Attributes:
        name: the name or ARN, or ``env:NAME``; for AppConfig, the name of its `Source`.
        source: the source to read.
        path: the JMESPath expression, or None for the text itself.
        transform, build, close: as passed to the constructor.
        ttl: seconds, or None for that of the decorator.
        default: the value that stands in for a missing secret; ``...`` for none.
        variable: the environment variable that names the secret (``env:NAME``), or None.
        convert: what makes the annotated type of a value, if a signature declares it, or None.
    """

    _source: Source | None
    _default: Opaque
    _given: tuple[Any, ...]
    name: str
    path: str | None
    transform: Transform | None
    build: Callback | None
    close: Callback | None
    pending: bool | None
    ttl: float | None
    search: Callback | None
    variable: str | None
    convert: Any = None

    def _declare(
        self, kind: Kind, name: str, path: str | None, read: Any, default: Opaque, **options: Any
    ) -> None:
        """Check and keep the arguments; ``read`` has the options of the source."""
        options = {"pending": None, **read, **options}
        variable = None
        if kind != "secret" or not _is_usual(name) or any(v is not None for v in options.values()):
            from ._options import checked

            variable = checked(kind, name, options)
        self._freeze(
            _source=None if variable else Source(kind, name, **read),
            _default=default,
            variable=variable,
            name=name,
            path=path,
            search=None if path is None else _compiled(path, f"Cannot declare {name!r}"),
            _given=(name, path, *options.values()),
            **options,
        )

    @property
    def default(self) -> Any:
        """The value that stands in for a missing secret; ``...`` for none."""
        return self._default(0)

    @property
    def source(self) -> Source:
        """The source to read.

        Raises:
            DeclarationError: when the environment variable that names it is unset or wrong.
        """
        return self._source or self.resolved().source

    def resolved(self) -> Declaration:
        """Return the declaration with the name that its environment variable holds."""
        if self.variable is None:
            return self
        from ._options import named

        return named(self)  # type: ignore[no-any-return]  # a copy of itself

    def extract(self, hidden: Opaque) -> Any:
        """Return the declared value from the raw value, or a `Mismatch`."""
        if self.transform is not None:
            from ._extract import transformed

            hidden = transformed(hidden, self.transform)
        value = hidden(0)
        if self.search is None or isinstance(value, Mismatch):
            return value
        data = parsed_json(value) if isinstance(value, (str, bytes)) else value
        if isinstance(data, Mismatch):
            return data
        found = self.search(data)
        if found is None:
            return Mismatch("the JMESPath expression matches nothing in its JSON", absent=True)
        return found

    @property
    def _identity(self) -> tuple[Any, ...]:  # type: ignore[override]  # the default stays hidden
        return (*self._given, self.default)

    def __str__(self) -> str:
        from ._explain import spelled

        return spelled(self._source or f"env:{self.variable}", self.path)


class Secret(Declaration):
    """A Secrets Manager secret: its text, or bytes for a binary secret.

    Example::

        Secret("prod/db", "password", version_stage="AWSPREVIOUS")

    Args:
        name: its name or ARN, or ``env:NAME`` for the variable that holds it.
        path: a JMESPath expression into its JSON.
        version_id: the id of one version. None: the current version.
        version_stage: one staging label, such as ``AWSPREVIOUS``. None: the current version.
        transform: ``"json"``, ``"binary"`` (base64 text to bytes) or a callable that gets the text
            and returns the value. It is applied before the path.
        build: a callable that gets the value and returns the object to inject instead, such as a
            connection pool. It is called again when, and only when, the value has changed.
        close: a callable that gets each built object after its replacement, once no call uses it.
        pending: whether a retry may use the version AWSPENDING during a rotation. None: only
            where it differs from the current version in ``password`` alone.
        ttl: seconds for which a value is fresh; None: as the decorator says.
        default: the value when the secret does not exist or the path matches nothing. Without a
            default, that is an error.

    Raises:
        DeclarationError: when an argument is wrong.
    """

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
        build: Callback | None = None,
        close: Callback | None = None,
        pending: bool | None = None,
        ttl: float | None = None,
        default: Any = ...,
    ) -> None:
        default = opaque(default)  # a traceback can show locals
        read = {"version_id": version_id, "version_stage": version_stage}
        options = {"transform": transform, "build": build, "close": close, "ttl": ttl}
        self._declare("secret", name, path, read, default, pending=pending, **options)


def _is_usual(name: object) -> bool:
    """Whether this is certainly the name of a secret: no ARN, variable or mistake."""
    if not isinstance(name, str) or name in ("", "None"):
        return False
    return name.isprintable() and not set(name) & set(" :#{")


def _compiled(path: object, what: str) -> Callback:
    """Return the search function of a JMESPath expression."""
    if isinstance(path, str) and path.isascii():
        # Dotted identifiers need no parser, so most declarations never import one.
        keys = () if path == "@" else tuple(path.split("."))
        if all(key.isidentifier() for key in keys):
            return functools.partial(walk, keys)
    from ._extract import compiled

    return compiled(path, what)

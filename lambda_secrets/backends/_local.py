"""Reads secrets from a TOML or JSON file, for local work, or from a mapping, for tests."""

from __future__ import annotations

import json
import os

from .._declarations import declare
from .._values import Shared, opaque
from ..errors import BackendError, DeclarationError, SecretNotFoundError, SecretsError
from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, TypeAlias

    from .._secret import Declaration
    from .._sources import Source
    from ._types import Answers, Result, Sources

    Key: TypeAlias = tuple[object, ...]
    Tables: TypeAlias = dict[str, dict[str, Any]]

    class Values(Protocol):
        """A mapping from strings or declarations; `Mapping` itself is invariant in its keys."""

        def items(self) -> Iterable[tuple[str | Declaration, Any]]:
            """Go through keys and values."""
            ...


# The prefix under which Parameter Store reads secrets.
SECRET_REFERENCE = "/aws/reference/secretsmanager/"  # noqa: S105 - a path, not a password
_NO_MAPPING = "Cannot keep secrets: values must be a mapping such as {'prod/db': 'text'}."
SCHEMES = {
    "secrets": "",
    "parameters": "ssm:",
    "appconfig": "appconfig:",
    "binary": "",
    "secure_strings": "ssm:",
}


class MemoryBackend(Shared):
    """Secrets in a mapping, for tests; it is read at each fetch, so that a test can change it.

    Args:
        values: declaration string without a path (or a declaration object, for one version) →
            ``str``, ``bytes``, a list (StringList), or a dict (JSON, or a tree by rest of name).

    Raises:
        DeclarationError: when a key or a value is none of these.
    """

    name = "memory"
    _declared = staticmethod(declare)  # tells what a key stands for

    def __init__(self, values: Values) -> None:
        self.values = values
        problem = self._table_or_problem() if hasattr(values, "items") else _NO_MAPPING
        del values  # a traceback can show locals
        if isinstance(problem, str):
            raise DeclarationError(problem)

    @property
    def values(self) -> Values:
        """The mapping; hidden from code that walks slots and ``__dict__``."""
        return self._values(0)  # type: ignore[no-any-return]  # __init__ hid it

    @values.setter
    def values(self, values: Values) -> None:
        self._values = opaque(values)

    def __repr__(self) -> str:
        """Show names, never values."""
        names = ", ".join(str(name) for name, _ in self.values.items())
        return f"<MemoryBackend: {names or 'nothing'}>"

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Look the sources up; a missing one is a `SecretNotFoundError`."""
        table = opaque(self._table_or_problem())
        if isinstance(table(0), str):  # the mapping has changed since it was checked
            return dict.fromkeys(sources, BackendError(table(0)))
        return {source: _looked_up(table(0), source) for source in sources}

    def _table_or_problem(self) -> dict[Key, Any] | str:
        """Return the table, or the problem as text: the frames of an error would show values."""
        try:
            return _table(self.values, self._declared)
        except DeclarationError as error:
            return str(error)


class FileBackend(Shared):
    """Secrets in a TOML or JSON file, for local work; it is read at each fetch.

    Args:
        path: the file; a relative path starts at the working directory.

    Raises:
        DeclarationError: when it is not a path.
    """

    name = "file"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read nothing yet."""
        if not (isinstance(path, (str, os.PathLike)) and path):
            kind = type(path).__name__  # not shown: it may be the values themselves
            raise DeclarationError(f"Cannot read secrets: expected the path of a file, got {kind}.")
        self._path = path

    def __repr__(self) -> str:
        """Show the path."""
        return f"<FileBackend {str(self._path)!r}>"

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Look the sources up; a missing one is a `SecretNotFoundError`.

        Raises:
            BackendError: when the file cannot be read; the message names file and line.
        """
        held = _read(self._path)[1]
        return {source: _looked_up(held, source) for source in sources}


def read_secrets_file(path: str | os.PathLike[str]) -> Tables:
    """Return the tables ``secrets``, ``parameters``, ``appconfig`` and ``binary`` of a file.

    Raises:
        BackendError: when it cannot be read or is malformed; the message names file and line.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[Tables, dict[Key, Any]]:
    """Return the tables, and their values keyed by `_key`."""
    try:
        return _content(path)
    except OSError as error:
        problem = f"{error.strerror}. Check the path."
    except SecretsError as error:  # its frames hold values, its context may quote one
        problem = str(error)
    raise BackendError(f"Cannot read {str(path)!r}: {problem}")


def _content(path: str | os.PathLike[str]) -> tuple[Tables, dict[Key, Any]]:
    from .._extract import decoded_base64

    with open(path, "rb") as file:  # noqa: PTH123 - a path of any kind
        data = file.read()
    document = _document_in(data, is_json=str(path).lower().endswith(".json"))
    values: dict[str, Any] = {}
    for table, entries in document.items():
        if table not in SCHEMES or not isinstance(entries, dict):
            raise BackendError(_unknown_table(table))
        for name, value in entries.items():
            if table in {"binary", "secure_strings"} and not isinstance(value, str):
                kind = type(value).__name__
                raise BackendError(f"{table}.{name} must be a string, not {kind}.")
            key = SCHEMES[table] + name
            if key in values:
                raise BackendError(f"{name!r} is in {table!r} and in another table. Drop one.")
            try:
                values[key] = decoded_base64(value) if table == "binary" else value
            except ValueError:
                raise BackendError(f"{table}.{name} is not base64 text.") from None
    return {table: document.get(table, {}) for table in SCHEMES}, _table(values)


def _document_in(data: bytes, *, is_json: bool) -> dict[str, Any]:
    import tomllib

    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a byte order mark
        is_json = is_json or text.lstrip().startswith("{")
        document = json.loads(text) if is_json else tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"it is not UTF-8 at line {line}."
    except json.JSONDecodeError as error:
        problem = f"it is not JSON at line {error.lineno}, column {error.colno}."
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(at ")[2].rstrip(")")
        problem = f"it is not TOML at {place}. Put names with a '/' and all text in quotes."
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        problem = f"it is nested too deeply, or a number in it is too long ({kind})."
    else:
        if isinstance(document, dict):
            return document
        problem = "its JSON must be an object."
    raise BackendError(problem)


def _unknown_table(table: str) -> str:
    from difflib import get_close_matches

    close = [other for other in get_close_matches(table, SCHEMES, 1) if other != table]
    hint = f" Did you mean [{close[0]}]?" if close else ""
    return f"{table!r} is not one of its tables, which are {', '.join(SCHEMES)}.{hint}"


def _table(
    values: Values, declared: Callable[[str | Declaration], Declaration] = declare
) -> dict[Key, Any]:
    """Return the values as AWS would store them, keyed by `_key`."""
    table: dict[Key, Any] = {}
    for key, value in values.items():
        declaration = declared(key)
        source = declaration.source
        if declaration.path is not None:
            raise DeclarationError(
                f"Cannot hold {key!s}: a key must not have a path. List the whole secret."
            )
        if source.kind != "tree":
            table[_key(source)] = as_read(value, source.kind, key)
        elif isinstance(value, dict):
            table[_key(source)] = {
                rest: as_read(below, "parameter", f"{key!s}{rest}") for rest, below in value.items()
            }
        else:
            raise DeclarationError(
                f"Cannot hold {key!s}: its value must be a dict keyed by the rest of each "
                f"parameter's name, not {type(value).__name__}."
            )
    return table


def as_read(value: Any, kind: str, key: object) -> str | bytes | list[str]:
    """Return text, bytes or a StringList unchanged, any other list or dict as JSON."""
    if isinstance(value, (str, bytes)):
        return value
    if not isinstance(value, (list, dict)):
        raise DeclarationError(
            f"Cannot hold {key!s}: its value must be str, bytes, a list or a dict, "
            f"not {type(value).__name__}."
        )
    if kind == "parameter" and isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return list(value)
        raise DeclarationError(f"Cannot hold {key!s}: a StringList must be a list of strings.")
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    raise DeclarationError(
        f"Cannot hold {key!s}: its value cannot be written as JSON ({problem}). Use strings, "
        "numbers, lists and dicts."
    )


def _key(source: Source) -> Key:
    stage = None if source.version_stage == "AWSCURRENT" else source.version_stage
    return source.kind, source.name, source.version_id, stage, source.version, source.label


def _looked_up(table: dict[Key, Any], source: Source) -> Result:
    key = _key(source)
    if source.kind == "tree":
        tree = dict(table.get(key, {}))
        for (kind, name, *version), value in table.items():
            if kind == "parameter" and str(name).startswith(source.name) and not any(version):
                tree[str(name).removeprefix(source.name)] = value
        if not source.recursive:
            tree = {rest: value for rest, value in tree.items() if "/" not in rest}
        return Answer(tree) if tree else not_found(source)
    if key not in table and source.name.startswith(SECRET_REFERENCE):
        key = ("secret", source.name.removeprefix(SECRET_REFERENCE), None, None, None, None)
    return Answer(table[key]) if key in table else not_found(source)


def not_found(source: Source) -> SecretNotFoundError:
    """Return the error for a source that local values do not have."""
    if source.kind == "tree":
        return SecretNotFoundError("there are no parameters below it. Check the path.")
    return SecretNotFoundError("this backend has no value for it. Add one, or check the name.")

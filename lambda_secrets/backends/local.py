"""Reads secrets kept here: in a TOML or JSON file for local work, or in a mapping for tests."""

from __future__ import annotations

import json
from binascii import a2b_base64

from ..declarations import Declaration, declare
from ..errors import BackendError, DeclarationError, SecretNotFoundError
from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Any, Protocol, TypeAlias

    from ..declarations import Source
    from ..errors import ResolutionError

    Held: TypeAlias = str | bytes | list[Any] | dict[str, Any]
    Key: TypeAlias = tuple[object, ...]

    class Values(Protocol):
        """A mapping whose keys are strings, declarations or both: `Mapping` is invariant there."""

        def items(self) -> Iterable[tuple[str | Declaration, Any]]:
            """Go through keys and values."""
            ...


_SCHEMES = {"secrets": "", "parameters": "ssm:", "appconfig": "appconfig:", "binary": ""}


class MemoryBackend:
    """Secrets in a mapping, for tests; it is read at each fetch, so that a test can change it.

    Args:
        values: declaration string without a path (or a declaration object, for one version) →
            ``str``, ``bytes``, a list (StringList) or a dict (JSON; of a tree, by rest of name).

    Raises:
        DeclarationError: when a key or a value is none of these.
    """

    name = "memory"

    def __init__(self, values: Values) -> None:
        """Check the mapping, and keep it."""
        self.values: Values = values
        _table(values)

    def __repr__(self) -> str:
        """Show names, never values."""
        names = ", ".join(str(name) for name, _ in self.values.items())
        return f"<MemoryBackend: {names or 'nothing'}>"

    def __reduce__(self) -> str:
        """Refuse: a pickle would hold the values."""
        raise TypeError("Cannot pickle a MemoryBackend: the pickle would hold its values.")

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, Answer | ResolutionError]:
        """Look the sources up; what is not there is not found."""
        table = _table(self.values)
        return {source: _looked_up(table, source) for source in sources}


class FileBackend:
    """Secrets in a TOML or JSON file, for local work; it is read at each fetch.

    Args:
        path: the file; a relative one is below the working directory.
    """

    name = "file"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read nothing yet."""
        self._path = path

    def __repr__(self) -> str:
        """Show the path."""
        return f"<FileBackend {str(self._path)!r}>"

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, Answer | ResolutionError]:
        """Look the sources up; what is not in the file is not found.

        Raises:
            BackendError: when the file cannot be read; it names file and line.
        """
        tables = read_secrets_file(self._path)
        values: dict[str, Held] = {}
        for table, scheme in _SCHEMES.items():
            for name, value in tables[table].items():
                values[scheme + name] = a2b_base64(value) if table == "binary" else value
        table_of_all = _table(values)
        return {source: _looked_up(table_of_all, source) for source in sources}


def read_secrets_file(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return the tables ``secrets``, ``parameters``, ``appconfig`` and ``binary`` of a file.

    Raises:
        BackendError: when it cannot be read, or says something else; it names file and line.
    """
    what = f"Cannot read {str(path)!r}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path of any kind
            data = file.read()
    except OSError as error:
        problem = f"{what}: {error.strerror}. Check the path."
    else:
        loaded = _loaded(data, json_first=str(path).endswith(".json"))
        if isinstance(loaded, dict):
            return _checked_tables(loaded, what)
        problem = f"{what}: {loaded}."
    raise BackendError(problem)


def _loaded(data: bytes, *, json_first: bool) -> dict[str, Any] | str:
    """Return what the file says, or what is wrong with it: a parser's error may quote a value."""
    if json_first:
        try:
            document = json.loads(data)
        except json.JSONDecodeError as error:
            return f"it is no JSON at line {error.lineno}, column {error.colno}"
        except ValueError:
            return "it is no UTF-8"
        return document if isinstance(document, dict) else "its JSON is no object"
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(at ")[2].rstrip(")")
        return f"it is no TOML at {place}"
    except UnicodeDecodeError:
        return "it is no UTF-8"


def _checked_tables(document: dict[str, Any], what: str) -> dict[str, dict[str, Any]]:
    for table, entries in document.items():
        if table not in _SCHEMES or not isinstance(entries, dict):
            raise BackendError(
                f"{what}: {table!r} is none of its tables. Use {', '.join(_SCHEMES)}."
            )
        for name, value in entries.items():
            kinds = (str,) if table == "binary" else (str, list, dict)
            if not isinstance(value, kinds):
                raise BackendError(
                    f"{what}: {table}.{name} is a {type(value).__name__}. Use a string, or a table."
                )
            problem = _problem(value, base64=table == "binary")
            if problem:
                raise BackendError(f"{what}: {table}.{name} {problem}.")
    return {table: document.get(table, {}) for table in _SCHEMES}


def _problem(value: Any, *, base64: bool) -> str:
    try:
        if base64:
            a2b_base64(value)
        else:
            json.dumps(value)
    except (TypeError, ValueError):
        return "is no base64 text" if base64 else "holds what JSON cannot say, such as a date"
    return ""


def _table(values: Values) -> dict[Key, Any]:
    """Return the values by what a source asks for; a dict that is no tree as its JSON."""
    table: dict[Key, Any] = {}
    for key, value in values.items():
        declaration = declare(key)
        if declaration.path is not None:
            raise DeclarationError(f"Cannot hold {key!s}: it has a path. Hold the whole secret.")
        kind = declaration.source.kind
        if not isinstance(value, (str, bytes, list, dict)):
            raise DeclarationError(
                f"Cannot hold {key!s}: its value is a {type(value).__name__}. "
                "Use str, bytes, a list or a dict."
            )
        as_it_is = isinstance(value, (str, bytes)) or kind == "tree"
        if isinstance(value, list) and kind == "parameter":
            as_it_is = True
        table[_key(declaration.source)] = value if as_it_is else json.dumps(value)
    return table


def _key(source: Source) -> Key:
    stage = None if source.version_stage == "AWSCURRENT" else source.version_stage
    return source.kind, source.name, source.version_id, stage, source.version, source.label


def _looked_up(table: dict[Key, Any], source: Source) -> Answer | ResolutionError:
    if source.kind != "tree":
        if _key(source) in table:
            return Answer(table[_key(source)])
        return SecretNotFoundError(
            "it is not among the values held here. Add it, or check the name."
        )
    tree = dict(table.get(_key(source), {}))
    for (kind, name, *version), value in table.items():
        if kind == "parameter" and str(name).startswith(source.name) and not any(version):
            rest = str(name).removeprefix(source.name)
            if source.recursive or "/" not in rest:
                tree[rest] = value
    if not tree:
        return SecretNotFoundError("no parameter is below that path. Add one, or check the path.")
    return Answer(tree)

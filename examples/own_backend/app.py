"""A complete backend of your own, for secrets mounted as files, and a handler that uses it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
    inject_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambda_secrets import Source

FOLDERS = {
    "secret": "secrets",
    "parameter": "parameters",
    "tree": "parameters",
    "appconfig": "appconfig",
}


class FolderBackend:
    """Reads ``secrets/NAME``, ``parameters/NAME`` and ``appconfig/A/E/P`` below a folder.

    A version, staging label or label has its own file beside it: ``NAME@AWSPREVIOUS``, ``NAME@2``.
    """

    name = "folder"

    def __init__(self, folder: Path) -> None:
        """Remember the folder; nothing is read yet."""
        self.folder = folder

    def fetch(
        self,
        sources: Iterable[Source],
        *,
        timeout: float,
        fresh: bool,  # there is no cache to read past
    ) -> dict[Source, Answer | ResolutionError]:
        """Answer every source with a value or with an error that says why there is none."""
        deadline = time.monotonic() + timeout
        return {source: self.answer(source, deadline) for source in sources}

    def answer(self, source: Source, deadline: float) -> Answer | ResolutionError:
        """Read one source, unless the deadline has passed."""
        if time.monotonic() >= deadline:
            return BackendUnavailableError("no time was left. Raise timeout.")
        folder = self.folder / FOLDERS[source.kind]
        path = folder / source.name.strip("/")
        if ".." in path.parts:
            return BackendError("its name leads out of the folder. Check the declaration.")
        try:
            if source.kind == "tree":
                return tree_below(path, recursive=source.recursive)
            return value_in(path.with_name(path.name + selector_of(source)))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return SecretNotFoundError(f"there is no such file in {folder}. Check the name.")
        except PermissionError:
            return AccessDeniedError(f"this user may not read it in {folder}. Check its mode.")
        except OSError as error:  # an unreachable network file system: a stale value will do
            return BackendUnavailableError(f"{folder} cannot be read ({error.strerror}).")


def selector_of(source: Source) -> str:
    """Return the suffix of a version's file name; empty for the current version."""
    for selector in (source.version_id, source.version_stage, source.version, source.label):
        if selector not in {None, "AWSCURRENT"}:
            return f"@{selector}"
    return ""


def value_in(path: Path) -> Answer:
    """Return text, or bytes if it is not UTF-8; its version is the time of the last change."""
    data = path.read_bytes()
    version = str(path.stat().st_mtime_ns)
    try:
        return Answer(data.decode(), version=version)
    except UnicodeDecodeError:
        return Answer(data, version=version)


def tree_below(path: Path, *, recursive: bool) -> Answer | ResolutionError:
    """Return every current value below a folder, keyed by its path from that folder."""
    tree = {
        file.relative_to(path).as_posix(): value_in(file).value
        for file in sorted(path.rglob("*") if recursive else path.iterdir())
        if file.is_file() and "@" not in file.name
    }
    return Answer(tree) if tree else SecretNotFoundError("that folder is empty. Check the path.")


@inject_secrets(
    {"db": "prod/db#@", "url": "ssm:/prod/url", "mail": "ssm:/prod/mail/"},
    backend=FolderBackend(Path(__file__).with_name("mounted")),
)
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return the names and sizes of what arrived, never the values."""
    secrets = context.secrets
    return {
        "db": sorted(secrets.db),
        "url": f"{len(secrets.url)} characters",
        "mail": sorted(secrets.mail),
    }

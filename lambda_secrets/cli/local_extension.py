"""Runs the emulator in this process, so that a handler reads through it as in Lambda."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from typing import TYPE_CHECKING, Any, cast

from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import override
from lambda_secrets.backends import Answer, ExtensionBackend, FileBackend
from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.emulator.settings import LOG_LEVEL, read_settings, sets_ttl
from lambda_secrets.cli.serve import file_values, listening, log
from lambda_secrets.errors import BackendError, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from lambda_secrets._sources import Source
    from lambda_secrets.backends import Value

_NOT_ASKED = BackendError("not asked")


class LocalExtension:
    """Reads through the extension; reads the file for the rest, and to say why it refused.

    Like `"auto"` with the file in place of AWS: a forced read bypasses the emulator's cache, too.
    """

    name = "extension"

    def __init__(self, emulator: Emulator, path: Path, *, cached: bool) -> None:
        self._emulator = emulator
        self._backend = ExtensionBackend()
        self._file = FileBackend(path)
        self._cached = cached
        # Without configurations in the file, nothing listens on the AppConfig extension's port.
        self._unserved = {"tree"} if emulator.appconfig_port else {"tree", "appconfig"}
        self._rotated: dict[str, str] = {}

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, Answer | ResolutionError]:
        """Read all sources."""
        if fresh:
            self._emulator.forget()
        served = [source for source in sources if source.kind not in self._unserved]
        found = self._backend.fetch(served, timeout=timeout, fresh=False)
        rest = [s for s in sources if isinstance(found.get(s, _NOT_ASKED), BackendError)]
        for source, answer in self._file.fetch(rest, timeout=timeout, fresh=True).items():
            answer.backend = "file"
            found[source] = answer
        for source, answer in found.items():
            if isinstance(answer, Answer):
                found[source] = Answer(
                    self._with_rotated(source, answer.value),
                    version=answer.version,
                    backend=answer.backend,
                    upstream_ttl=self.upstream_ttl(source),
                )
        return found

    def upstream_ttl(self, source: Source) -> float:
        """Return how many seconds the emulator may keep this source."""
        if source.kind in self._unserved or not self._cached:
            return 0.0
        return self._backend.upstream_ttl(source)

    def rotate(self, target: str, value: str) -> None:
        """Give a secret, parameter or configuration a new value."""
        self._rotated[target] = value
        self._emulator.rotate(target, value)
        if not self._cached:
            self._emulator.forget()

    def close(self) -> None:
        """Close the connections."""
        self._backend.close()

    def _with_rotated(self, source: Source, value: Value) -> Value:
        """Return a tree's values from the file, with the rotations since."""
        if source.kind != "tree":
            return value
        values = dict(cast("dict[str, Any]", value))
        for target, text in self._rotated.items():
            below = target.removeprefix(f"ssm:{source.name}")
            if below in values:
                values[below] = text.split(",") if isinstance(values[below], list) else text
        return values


@contextlib.contextmanager
def local_extension(path: Path, *, cached: bool) -> Generator[LocalExtension]:
    """Serve a secrets file from an emulator, and let this whole process read from it.

    The emulator's cache delays a rotation only if `cached`, or if the user has set one of its TTLs.
    """
    cached = cached or sets_ttl(os.environ)
    settings, lines = read_settings({LOG_LEVEL: "WARN", **os.environ})
    write = functools.partial(log, settings, prefix="Local extension: ")
    for level, line in lines:
        write(level, line)
    own = os.environ.get("AWS_SESSION_TOKEN")
    token = own or secrets.token_urlsafe(32)
    emulator = Emulator(file_values(path, settings), token=token, settings=settings, log=write)
    with listening(emulator):
        # AWS_TOKEN has the token: in AWS_SESSION_TOKEN it would spoil credentials without one.
        os.environ.update(emulator.environment, AWS_TOKEN=token)
        if "AWS_ACCESS_KEY_ID" in os.environ and own is None:
            del os.environ["AWS_SESSION_TOKEN"]
        backend = LocalExtension(emulator, path, cached=cached)
        override(shared_cache, backend)
        yield backend
        backend.close()

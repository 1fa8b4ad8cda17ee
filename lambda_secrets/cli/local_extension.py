"""Runs the emulator in this process, so that a handler reads through it as in Lambda."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from typing import TYPE_CHECKING, Any

from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import override
from lambda_secrets.backends import AutoBackend, ExtensionBackend
from lambda_secrets.backends._local import SCHEMES, MemoryBackend, base64_bytes, read_secrets_file
from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.emulator.local import in_the_form_of
from lambda_secrets.cli.emulator.settings import LOG_LEVEL, read_settings, sets_ttl
from lambda_secrets.cli.serve import file_values, listening, log

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from lambda_secrets._sources import Source
    from lambda_secrets.backends._types import Answers, Sources


class _Uncached(ExtensionBackend):
    def upstream_ttl(self, source: Source) -> float:
        """Return 0: each rotation clears the emulator's cache."""
        return 0.0


class LocalExtension(AutoBackend):
    """`"auto"` with the values of a file in place of AWS."""

    def __init__(self, emulator: Emulator, path: Path, *, cached: bool) -> None:
        self._emulator = emulator
        self._cached = cached
        self._values: dict[str, Any] = {
            scheme + name: base64_bytes(value) if table == "binary" else value
            for table, scheme in SCHEMES.items()
            for name, value in read_secrets_file(path)[table].items()
        }
        super().__init__(
            extension=ExtensionBackend() if cached else _Uncached(),
            sdk=MemoryBackend(self._values),  # type: ignore[arg-type]  # it is asked as AWS is
        )

    def _is_for_extension(self, source: Source, *, fresh: bool) -> bool:
        # A file has no pending versions, and to ask for one would be logged as an error.
        is_pending = source.version_stage == "AWSPENDING"
        return super()._is_for_extension(source, fresh=fresh and is_pending)

    def _ask(self, sources: Sources, timeout: float, ready: float, *, fresh: bool) -> Answers:
        if fresh:  # unlike AWS's, this extension can be asked past its cache
            self._emulator.forget()
        answers = super()._ask(sources, timeout, ready, fresh=fresh)
        for answer in answers.values():
            answer.backend = "file" if answer.backend == "sdk" else answer.backend
        return answers

    def close(self) -> None:
        """Close the connections."""
        self._extension.close()

    def rotate(self, target: str, value: str) -> None:
        """Give a secret, parameter or configuration a new value."""
        self._values[target] = in_the_form_of(self._values[target], value)
        self._emulator.rotate(target, value)
        if not self._cached:
            self._emulator.forget()


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

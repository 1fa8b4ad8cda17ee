"""Runs the emulator in this process, so that a handler reads through it as in Lambda."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import override
from lambda_secrets.backends import AutoBackend, ExtensionBackend
from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.emulator.settings import LOG_LEVEL, read_settings
from lambda_secrets.cli.file_reader import FileReader
from lambda_secrets.cli.serve import file_values, listening, log

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from lambda_secrets._sources import Source
    from lambda_secrets.cli.emulator.local import FileValues


class _Uncached(ExtensionBackend):
    def upstream_ttl(self, source: Source) -> float:
        """Return 0: a changed value shows at once."""
        return 0.0


@contextlib.contextmanager
def local_extension(path: Path) -> Generator[FileValues]:
    """Serve a secrets file from an emulator, and let this whole process read from it."""
    settings, lines = read_settings({LOG_LEVEL: "WARN", **os.environ})
    write = functools.partial(log, settings, prefix="Local extension: ")
    for level, line in lines:
        write(level, line)
    values = file_values(path, write)
    own = os.environ.get("AWS_SESSION_TOKEN")
    emulator = Emulator(values, token=own, settings=settings, log=write)
    with listening(emulator):
        # AWS_TOKEN has the token: in AWS_SESSION_TOKEN it would spoil credentials without one.
        os.environ.update(emulator.environment, AWS_TOKEN=emulator.token)
        if "AWS_ACCESS_KEY_ID" in os.environ and own is None:
            del os.environ["AWS_SESSION_TOKEN"]
        extension = _Uncached() if settings.follows_changes else ExtensionBackend()
        # The file stands for AWS: it answers forced reads, and what the emulator refuses.
        backend = AutoBackend(extension=extension, sdk=FileReader(values))  # type: ignore[arg-type]  # it is asked as boto3 is
        override(shared_cache, backend)
        yield values
        extension.close()

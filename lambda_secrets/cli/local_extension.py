"""The stand-in in a process of its own, and this process reading through it as in Lambda."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

from lambda_secrets._cache import shared_cache
from lambda_secrets.backends import Answer, ExtensionBackend, FileBackend
from lambda_secrets.cli.emulator.settings import (
    APPCONFIG_PORT,
    LOG_LEVEL,
    PARAMETER_TTL,
    PORT,
    SECRET_TTL,
)
from lambda_secrets.cli.failure import Failure
from lambda_secrets.errors import BackendError, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path
    from typing import IO

    from lambda_secrets._declarations import Source
    from lambda_secrets.backends import Value

# -P: a module of the working directory must not take the place of one of Python's.
_STAND_IN = (sys.executable, "-P", "-m", "lambda_secrets.cli.emulator", "--control", "--port", "0")


class LocalExtension:
    """A running stand-in; commands go through its pipes, so that no port of it takes them."""

    def __init__(self, child: subprocess.Popen[str], *, cached: bool) -> None:
        self.cached = cached
        self._lock = threading.Lock()
        self._commands = cast("IO[str]", child.stdin)
        self._answers = cast("IO[str]", child.stdout)
        self.rotated: dict[str, str] = {}
        first = self._answers.readline()
        if not first:
            raise Failure("The local extension did not start; the line above says why.")
        self._ports: dict[str, int | None] = json.loads(first)

    def variables(self, token: str) -> dict[str, str]:
        """Return the variables by which a function finds this extension.

        The token is in AWS_TOKEN: in AWS_SESSION_TOKEN it would spoil credentials that have none.
        """
        appconfig_port = self._ports["appconfig_port"]
        variables = {PORT: str(self._ports["port"]), "AWS_TOKEN": token}
        if "AWS_ACCESS_KEY_ID" not in os.environ:
            variables["AWS_SESSION_TOKEN"] = token
        if appconfig_port is not None:
            variables[APPCONFIG_PORT] = str(appconfig_port)
        return variables

    def rotate(self, target: str, value: str) -> None:
        """Give a secret, parameter or configuration a new value."""
        self.rotated[target] = value
        self._tell({"rotate": target, "value": value})
        if not self.cached:
            self.forget()

    def forget(self) -> None:
        """Drop what the stand-in has cached."""
        self._tell({"forget": True})

    def _tell(self, command: dict[str, Any]) -> None:
        with self._lock:  # backends are asked from threads
            self._commands.write(json.dumps(command) + "\n")
            self._commands.flush()
            self._answers.readline()


_NOT_ASKED = BackendError("a tree")


class LocalBackend:
    """The extension for what it serves; the file for trees, and for why the extension refused.

    That is `"auto"` with the file in the SDK's place: a forced read, too, gets past the stand-in's
    cache.
    """

    name = "extension"

    def __init__(self, extension: LocalExtension, path: Path) -> None:
        self._extension = extension
        self._backend = ExtensionBackend()
        self._file = FileBackend(path)

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, Answer | ResolutionError]:
        """Read all sources."""
        if fresh:
            self._extension.forget()
        served = [source for source in sources if source.kind != "tree"]
        found = self._backend.fetch(served, timeout=timeout, fresh=False)
        rest = [s for s in sources if isinstance(found.get(s, _NOT_ASKED), BackendError)]
        for source, answer in self._file.fetch(rest, timeout=timeout, fresh=True).items():
            answer.backend = "file"
            found[source] = answer
        for source, answer in found.items():
            if isinstance(answer, Answer):
                answer.upstream_ttl = self.upstream_ttl(source)
                answer.value = self._with_rotated(source, answer.value)
        return found

    def upstream_ttl(self, source: Source) -> float:
        """Return for how many seconds the stand-in may keep what it read."""
        if source.kind == "tree" or not self._extension.cached:
            return 0.0
        return self._backend.upstream_ttl(source)

    def close(self) -> None:
        """Close the connections."""
        self._backend.close()

    def _with_rotated(self, source: Source, value: Value) -> Value:
        """Return what the file says of a tree with what was rotated since."""
        if source.kind != "tree":
            return value
        values = dict(cast("dict[str, Any]", value))
        for target, text in self._extension.rotated.items():
            below = target.removeprefix(f"ssm:{source.name}")
            if below in values:
                values[below] = text.split(",") if isinstance(values[below], list) else text
        return values


@contextlib.contextmanager
def local_extension(path: Path, *, cached: bool) -> Generator[LocalExtension]:
    """Run a stand-in that serves a secrets file, and let this whole process read from it.

    Unless `cached`, or the user has set a TTL of the extension's, no cache holds a rotation back.
    """
    token = os.environ.get("AWS_SESSION_TOKEN") or secrets.token_urlsafe(32)
    cached = cached or any(name in os.environ for name in (SECRET_TTL, PARAMETER_TTL))
    quiet = {LOG_LEVEL: os.environ.get(LOG_LEVEL, "WARN"), APPCONFIG_PORT: "0"}
    child = subprocess.Popen(  # noqa: S603 - this interpreter, our module
        [*_STAND_IN, "--secrets", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **quiet, "AWS_SESSION_TOKEN": token},
    )
    with child:
        try:
            extension = LocalExtension(child, cached=cached)
            with _environment(extension.variables(token)):
                backend = LocalBackend(extension, path)
                shared_cache.override(backend)
                try:
                    yield extension
                finally:
                    shared_cache.restore(backend)
                    backend.close()
        finally:
            child.terminate()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

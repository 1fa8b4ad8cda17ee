"""One account of made-up secrets behind each backend, its faults, and which values are valid."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambda_secrets import AccessDeniedError, BackendUnavailableError, MemoryBackend
from tests.support import faults
from tests.support.aws_endpoint import asked, refused, secret
from tests.support.tls import TlsServer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator

    from tests.support.faults import Action, Request

    Instant = tuple[float, float]  # of the monotonic and the wall clock

NAMES = ("a", "b")
MODES = [*["well"] * 5, *["down"] * 2, "flaky", "denied", "raises", "hangs"]
_NEVER = (-math.inf, -math.inf)


class Clock:
    """Real time plus the jumps of each clock."""

    def __init__(self) -> None:
        """Start without a jump."""
        self.mono = self.wall = 0.0

    def monotonic(self) -> float:
        """Return the monotonic reading."""
        return time.monotonic() + self.mono

    def time(self) -> float:
        """Return the wall clock's reading."""
        return time.time() + self.wall

    def now(self) -> Instant:
        """Return both readings."""
        return self.monotonic(), self.time()


def age_of(instant: Instant, now: Instant) -> float:
    """Return the seconds between two instants, by the clock that shows more."""
    return max(now[0] - instant[0], now[1] - instant[1])


class Vault:
    """The secrets, the state of their service, and when each value could last be read.

    Attributes:
        mode: ``well``, ``flaky``, ``down``, ``raises``, ``hangs`` or ``denied``.
        revoked_at: when access was revoked; None unless it is.
    """

    def __init__(self, dice: random.Random) -> None:
        """Start in mode ``well``."""
        self.dice = dice
        self.mode = "well"
        self.version = 0
        self.clock = Clock()
        self.revoked_at: Instant | None = None
        self.changed: Callable[[], None] = lambda: None  # called at each turn and rotation
        self._given: dict[str, Instant] = {}
        self._ended: dict[int, Instant] = {}
        self._unreadable_since = _NEVER

    @property
    def is_readable(self) -> bool:
        """Whether a read may succeed."""
        return self.mode in ("well", "flaky")

    def fault(self) -> str:
        """Return the fault of one read; empty for none."""
        if self.mode == "flaky":
            return self.dice.choice(["", "down"])
        return "" if self.mode == "well" else self.mode

    def give(self, name: str) -> str:
        """Return the value of a secret, and record when it was given out."""
        value = self.value(name)
        self._given[value] = self.clock.now()
        return value

    def value(self, name: str) -> str:
        """Return the value of a secret without a record: `read_at` assumes the latest instant."""
        return f"value-of-{name}-{self.version:06}"

    def turn(self, mode: str) -> None:
        """Switch to this mode."""
        if self.is_readable:
            self._unreadable_since = self.clock.now()
        self.mode = mode
        if mode != "denied":
            self.revoked_at = None
        elif self.revoked_at is None:
            self.revoked_at = self.clock.now()
        self.changed()

    def rotate(self) -> None:
        """Change every secret."""
        self._ended[self.version] = self._until()
        self.version += 1
        self.changed()

    def read_at(self, value: str) -> Instant | None:
        """Return when this value could last be read; None if it never existed."""
        name, _, number = value.removeprefix("value-of-").rpartition("-")
        if name not in NAMES or not number.isdecimal() or int(number) > self.version:
            return None
        version = int(number)
        return self._given.get(value, self._ended.get(version, self._until()))

    def _until(self) -> Instant:
        return self.clock.now() if self.is_readable else self._unreadable_since

    def forget(self) -> None:
        """Start again: no value that was read until now may be served."""
        self._given.clear()
        self._ended = dict.fromkeys(range(self.version), _NEVER)
        self._unreadable_since = _NEVER
        if self.mode == "denied":
            self.revoked_at = self.clock.now()

    def inherit(self) -> None:
        """Go on in a child, which does not see the values that its parent's servers give out."""
        self._given.clear()


class _Own:
    """A custom backend."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
        """Answer according to the mode; some faults affect one source alone."""
        if self.vault.mode == "hangs":
            time.sleep(timeout + 0.2)
        if self.vault.mode == "raises":
            raise OSError
        return {source: self._answer(source.name) for source in sources}

    def _answer(self, name: str) -> Any:
        fault = self.vault.fault()
        if fault == "denied":
            return AccessDeniedError("no.")
        return BackendUnavailableError("it is down.") if fault else self.vault.give(name)


class _Held:
    """The mapping of a MemoryBackend, which may be down as well."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def items(self) -> list[tuple[str, str]]:
        """Return the pairs that can be read now."""
        fault = self.vault.fault()
        if fault == "hangs":
            time.sleep(0.4)
        if fault not in ("", "denied"):
            raise OSError
        return [] if fault else [(name, self.vault.give(name)) for name in NAMES]


@contextlib.contextmanager
def _own(vault: Vault) -> Generator[Any]:
    yield _Own(vault)


@contextlib.contextmanager
def _memory(vault: Vault) -> Generator[Any]:
    yield MemoryBackend(_Held(vault))


@contextlib.contextmanager
def _file(vault: Vault) -> Generator[Any]:
    """A file that is replaced, emptied, broken or removed."""
    with tempfile.TemporaryDirectory() as folder:
        path, new = Path(folder, "secrets.json"), Path(folder, "new")

        def write() -> None:
            found = {name: vault.value(name) for name in NAMES if vault.is_readable}
            text = json.dumps({"secrets": found})
            new.write_text(text[:-5] if vault.mode == "raises" else text, "utf-8")
            new.replace(path)
            if vault.mode in ("down", "hangs"):
                path.unlink()

        vault.changed = write
        write()
        with _environment(LAMBDA_SECRETS_FILE=str(path)):
            yield "file"


class _Server(TlsServer):
    """Answers for one account, in the dialect of the extension or of AWS."""

    def __init__(self, vault: Vault, dialect: str) -> None:
        super().__init__(getattr(self, dialect), None)
        self.vault = vault

    def _action(self, raw: bytes, connection: int) -> Action:
        action = super()._action(raw, connection)
        self.requests.clear()  # there are many
        return action

    def extension(self, request: Request) -> Action:
        """Answer as the extension."""
        fault = self.vault.fault()
        if fault == "denied":
            return faults.REFUSED
        if fault:
            more = [faults.NOT_READY, faults.answer("", 429)]
            return self._fault(fault, [*faults.BROKEN, *more])
        name = request.query["secretId"]
        return faults.answer(
            json.dumps(faults.secret_body(self.vault.give(name), agent=False, name=name))
        )

    def aws(self, request: Request) -> Action:
        """Answer as Secrets Manager."""
        fault = self.vault.fault()
        if fault == "denied":
            return refused("AccessDeniedException")
        if fault:
            more = [
                refused("ThrottlingException"),
                refused("InternalServiceError", status=500),
                refused("InvalidSignatureException", "Signature expired: it is old"),
            ]
            return self._fault(fault, [*faults.BROKEN, *more])
        name = asked(request)["SecretId"]
        return faults.answer(json.dumps(secret(name, self.vault.give(name))))

    def _fault(self, fault: str, broken: list[Action]) -> Action:
        if fault == "hangs":
            return faults.hang
        return faults.GARBAGE if fault == "raises" else self.vault.dice.choice(broken)


@contextlib.contextmanager
def _served(vault: Vault, name: str) -> Generator[Any]:
    """A backend by its name, in front of servers of this process."""
    with _Server(vault, "extension") as extension, _Server(vault, "aws") as aws:
        url = f"http://127.0.0.1:{aws.port}"
        settings = {
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(extension.port),
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if "AWS_LAMBDA_RUNTIME_API" not in os.environ:
            settings["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:1"  # as in Lambda
        with _environment(**settings):
            yield name


@contextlib.contextmanager
def _environment(**settings: str) -> Generator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text


_LOCAL = {"own": _own, "memory": _memory, "file": _file}
KINDS = (*_LOCAL, "extension", "aws", "sdk", "auto")


def backend_over(vault: Vault, kind: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context manager of a backend, an object or a name, in front of the account."""
    return _LOCAL[kind](vault) if kind in _LOCAL else _served(vault, kind)

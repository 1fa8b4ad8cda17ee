"""Many invocations on eight threads, through faults and outages: `python -m tests.sturdy.soak N`.

A server in this process answers for the extension, or for AWS. Another process makes the
invocations, a hundred at a time; after each hundred its clock jumps past the TTL.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lambda_secrets import LiveSecrets, inject_secrets
from lambda_secrets._cache import shared_cache
from tests.sturdy.footprint import footprint
from tests.support import faults
from tests.support.aws_endpoint import asked, secret
from tests.support.tls import TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.faults import Action, FaultServer, Request

ROOT = Path(__file__).parents[2]
THREADS = 8
BATCH = 100  # invocations; then a refresh is due
TTL = 60.0  # seconds
STALE = 3600.0
OUTAGE = 10  # batches, of TTL * 5 seconds each: less than STALE in total
NAMES = ("prod/a", "prod/b")
FAULTS = [*faults.BROKEN, faults.hang]
FAULT_SHARE = 0.1


# The server's side


class Server:
    """Answers with the name and a number that grows; spoils a tenth of the answers."""

    def __init__(self) -> None:
        """Start without an outage."""
        self.down = False
        self.dice = random.Random(20)  # noqa: S311 - dice
        self.spoilt = self.answered = 0

    def fault(self) -> Action | None:
        """Return a fault to send instead of an answer, if any."""
        if self.down or self.dice.random() < FAULT_SHARE:
            self.spoilt += 1
            return faults.reset if self.down else self.dice.choice(FAULTS)
        self.answered += 1
        return None

    def value(self, name: str) -> str:
        """Return a value that names its secret and counts the answers so far."""
        return f"{name}:{self.answered}"

    def aws(self, request: Request) -> Action:
        """Answer as Secrets Manager."""
        name = asked(request)["SecretId"]
        return self.fault() or faults.answer(json.dumps(secret(name, self.value(name))))

    def extension(self, request: Request) -> Action:
        """Answer as the extension."""
        name = request.query["secretId"]
        body = faults.secret_body(self.value(name), agent=False, name=name)
        return self.fault() or faults.answer(json.dumps(body))


class _Forgetful(TlsServer):
    """Discards requests, as there are many."""

    def _action(self, raw: bytes, connection: int) -> Action:
        action = super()._action(raw, connection)
        self.requests.clear()
        return action


def soak(invocations: int, backend: str = "extension") -> dict[str, Any]:
    """Run that many invocations, and return the figures."""
    state = Server()
    server: FaultServer = _Forgetful(getattr(state, backend), None)
    environment = {
        **os.environ,
        "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(server.port),
        "AWS_SESSION_TOKEN": "testing",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "tests.sturdy.soak", "--child", str(invocations), backend]
    with (
        server,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        last = ""
        for line in child.stdout:
            last = line
            if line in ("down\n", "well\n"):
                state.down = line == "down\n"
                child.stdin.write("done\n")
                child.stdin.flush()
    assert child.returncode == 0, "the soak failed"
    return {**json.loads(last), "answers": state.answered, "spoilt": state.spoilt}


# The function's side


class Clock:
    """Real time plus the time that was jumped over."""

    def __init__(self) -> None:
        """Start without a jump."""
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Return the monotonic reading."""
        return time.monotonic() + self.ahead

    def time(self) -> float:
        """Return the wall clock's reading."""
        return time.time() + self.ahead


def handlers(backend: str, observer: Any) -> list[Callable[[], dict[str, str]]]:
    """Return calls of each kind of handler; each returns the values that it got, by name."""
    declared = {"a": NAMES[0], "b": NAMES[1]}
    options: dict[str, Any] = {
        "backend": backend,
        "ttl": TTL,
        "jitter": 0.0,
        "stale_if_error": STALE,
        "observer": observer,
    }
    live = LiveSecrets(declared, **options)
    shared = SimpleNamespace()

    @inject_secrets(declared, **options)
    def on_context(event: Any, context: Any) -> dict[str, str]:
        return {NAMES[0]: context.secrets.a, NAMES[1]: context.secrets.b}

    @inject_secrets(declared, into="kwargs", **options)
    def by_keyword(event: Any, context: Any, *, a: str, b: str) -> dict[str, str]:
        return {NAMES[0]: a, NAMES[1]: b}

    @inject_secrets(live, into="event")
    async def on_event(event: Any, context: Any) -> dict[str, str]:
        await asyncio.sleep(0)
        return {NAMES[0]: event["secrets"].a, NAMES[1]: event["secrets"].b}

    @live.retry_on(LookupError)
    def anywhere() -> dict[str, str]:
        return {NAMES[0]: live.a, NAMES[1]: live.current().b}

    def in_loop() -> dict[str, str]:
        return asyncio.run(on_event({}, None))

    return [
        *[lambda: on_context({}, SimpleNamespace())] * 7,
        *[lambda: on_context({}, shared)] * 6,
        *[lambda: by_keyword({}, None)] * 3,
        *[anywhere] * 3,
        in_loop,
    ]


class Run:
    """The invocations of one process and their results."""

    def __init__(self, invocations: int, backend: str) -> None:
        """Start with nothing cached."""
        self.invocations = invocations
        self.clock = shared_cache.clock = Clock()
        self.events: dict[str, int] = {}
        self.calls = handlers(backend, self.observe)
        self.failures: list[str] = []
        self.slowest = self.slowest_well = 0.0
        self.down = False
        self.lock = threading.Lock()

    def observe(self, event: Any) -> None:
        """Count the library's events by kind."""
        with self.lock:
            self.events[event.kind] = self.events.get(event.kind, 0) + 1

    def invoke(self, first: int) -> None:
        """Make every eighth invocation of a batch."""
        for number in range(first, BATCH, THREADS):
            begin = time.monotonic()
            try:
                for name, value in self.calls[number % len(self.calls)]().items():
                    assert value.startswith(f"{name}:"), "a crossed value"
            except Exception as error:  # noqa: BLE001 - each is counted
                self.failures.append(f"{type(error).__name__}: {error}")
            seconds = time.monotonic() - begin
            self.slowest = max(self.slowest, seconds)
            if not self.down:
                self.slowest_well = max(self.slowest_well, seconds)

    def turn(self, *, down: bool) -> None:
        """Start or end an outage of the server."""
        self.down = down
        sys.stdout.write("down\n" if down else "well\n")
        sys.stdout.flush()
        sys.stdin.readline()

    def all(self) -> dict[str, Any]:
        """Make all invocations, with an outage after one third and after two thirds of them."""
        batches = self.invocations // BATCH
        outages = [batches // 3, 2 * batches // 3]
        warmed_up = batches // 5
        before = footprint()
        with ThreadPoolExecutor(THREADS) as pool:
            for batch in range(batches):
                if batch in outages or batch - OUTAGE in outages:
                    self.turn(down=batch in outages)
                list(pool.map(self.invoke, range(THREADS)))
                self.clock.ahead += TTL * (5 if self.down else 1.01)
                if batch == warmed_up:
                    before = footprint()
            after = footprint()
        return {
            "invocations": batches * BATCH,
            "failures": len(self.failures),
            "first failures": self.failures[:3],
            "rounds": self.events,
            "slowest": round(self.slowest, 3),
            "slowest outside of outages": round(self.slowest_well, 3),
            "before": before._asdict(),
            "after": after._asdict(),
        }


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        figures = Run(int(sys.argv[2]), sys.argv[3]).all()
    else:  # pragma: no cover - by hand
        figures = soak(int(sys.argv[1]), *sys.argv[2:])
    sys.stdout.write(json.dumps(figures) + "\n")

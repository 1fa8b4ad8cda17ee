"""Lambda's side of a sandbox: a Runtime API, and the real runtime client running a handler."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ARN = "arn:aws:lambda:us-east-1:123456789012:function:tested"
OURS = ("AWS_", "LAMBDA_", "PARAMETERS_SECRETS_EXTENSION_", "SECRETS_MANAGER_", "SSM_PARAMETER_")


class Outcome(NamedTuple):
    """The result of one invocation or of INIT: a payload, or the error that the runtime posted."""

    payload: Any
    error: dict[str, Any] | None
    seconds: float


class RuntimeApi(ThreadingHTTPServer):
    """The HTTP API that a runtime polls: events wait in `events`, results arrive in `outcomes`."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free loopback port."""
        super().__init__(("127.0.0.1", 0), RuntimeApiHandler)
        self.events: queue.Queue[tuple[bytes, float]] = queue.Queue()
        self.outcomes: queue.Queue[Outcome] = queue.Queue()
        self.asked = threading.Event()
        self.snapshot_taken = threading.Event()
        self.restored = threading.Event()
        self.ending = threading.Event()
        self.sent_at = time.monotonic()


class RuntimeApiHandler(BaseHTTPRequestHandler):
    """The five calls that a runtime makes, under /2018-06-01/runtime."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise head and body go out apart: 40 ms an event

    @property
    def api(self) -> RuntimeApi:
        """The server that this request came to."""
        return cast("RuntimeApi", self.server)

    def do_GET(self) -> None:
        """Hand out the next event, or hold the runtime in its snapshot until it is restored."""
        if self.path.endswith("/restore/next"):
            self.api.snapshot_taken.set()
            self.api.restored.wait()
            self._send(200)
            return
        self.api.asked.set()
        event, deadline = self.api.events.get()
        self.api.sent_at = time.monotonic()
        self._send(
            200,
            event,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + deadline) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": ARN,
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        """Take a response or an error; refuse it once the sandbox ends."""
        seconds = time.monotonic() - self.api.sent_at
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.api.ending.is_set():
            self._send(410)
            return
        failed = self.path.endswith("/error")
        outcome = Outcome(None if failed else body, body if failed else None, seconds)
        self.api.outcomes.put(outcome)
        self._send(202)

    def _send(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        """Keep the test output clean."""


class Sandbox:
    """One execution environment: `python -m awslambdaric HANDLER` in a process, as Lambda runs it.

    `env` is added to the environment of a Lambda function (None removes a variable); `timeout` is
    the function's, in seconds; `python` is the interpreter.
    """

    def __init__(
        self,
        handler: str,
        task_root: Path,
        *,
        env: Mapping[str, str | None] | None = None,
        timeout: float = 10.0,
        snap_start: bool = False,
        python: str = sys.executable,
    ) -> None:
        """Prepare the sandbox; entering the context starts it."""
        self.handler = handler
        self.task_root = task_root
        self.timeout = timeout
        self.python = python
        initialization = "snap-start" if snap_start else "on-demand"
        self._added = {"AWS_LAMBDA_INITIALIZATION_TYPE": initialization, **(env or {})}

    def __enter__(self) -> Self:
        """Start the Runtime API and the runtime."""
        self._api = RuntimeApi()
        threading.Thread(target=self._api.serve_forever, args=(0.05,), daemon=True).start()
        self._output = tempfile.TemporaryFile("a+b")
        self._process = subprocess.Popen(
            [self.python, "-m", "awslambdaric", self.handler],
            cwd=self.task_root,
            env=self.environment(),
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End the runtime with its exit hooks: send invalid JSON, and refuse the error report."""
        self._api.ending.set()
        self._api.restored.set()
        self._api.events.put((b"{", 1.0))
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._api.shutdown()
            self._api.server_close()
            self._output.close()

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a Python function on Lambda."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        function = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "tested",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/tested",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2023/11/14/[$LATEST]0123456789abcdef",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{python}",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "_HANDLER": self.handler,
            "TZ": ":UTC",
        }
        merged = {**inherited, **function, **self._added}
        return {name: text for name, text in merged.items() if text is not None}

    def invoke(self, event: Any = None) -> Outcome:
        """Run the handler once and return its outcome, or that of INIT if INIT fails first."""
        self._api.events.put((json.dumps(event or {}).encode(), self.timeout))
        return self.outcome()

    def outcome(self) -> Outcome:
        """Wait for the next result or error that the runtime posts."""
        give_up = time.monotonic() + self.timeout + 20
        while True:
            try:
                return self._api.outcomes.get(timeout=0.1)
            except queue.Empty:
                assert self._process.poll() is None, f"the runtime ended:\n{self.log()}"
                assert time.monotonic() < give_up, f"the runtime gave no answer:\n{self.log()}"

    def wait_until_initialized(self) -> None:
        """Wait until INIT is over: the runtime asks for its first event."""
        assert self._api.asked.wait(20), f"INIT did not end:\n{self.log()}"

    def wait_for_snapshot(self) -> None:
        """Wait until INIT is over and the snapshot could be taken."""
        assert self._api.snapshot_taken.wait(20), f"INIT did not end:\n{self.log()}"

    def restore(self) -> None:
        """Let the runtime continue as if restored from its snapshot."""
        self.wait_for_snapshot()
        self._api.restored.set()

    def freeze(self) -> None:
        """Stop the process where it is, as Lambda does between invocations."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process continue."""
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what the function has written to stdout and stderr so far."""
        self._output.seek(0)
        return self._output.read().decode()

"""The context object of an invocation here: the attributes of Lambda's own, and a real deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@dataclass(slots=True)
class Identity:
    """Of a call through Amazon Cognito; here there is none."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class Context:
    """What Lambda hands to a handler beside the event. `timeout` is in seconds."""

    def __init__(self, function_name: str, timeout: float) -> None:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self.aws_request_id: str = str(uuid.uuid4())
        self.function_name = function_name
        self.function_version = "$LATEST"
        self.invoked_function_arn: str = (
            f"arn:aws:lambda:{region or 'us-east-1'}:123456789012:function:{function_name}"
        )
        self.memory_limit_in_mb = "128"
        self.log_group_name: str = f"/aws/lambda/{function_name}"
        self.log_stream_name: str = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid.uuid4().hex}"
        self.client_context: None = None
        self.identity: Identity = Identity()
        self.tenant_id: None = None
        self._deadline = time.monotonic() + timeout

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation is ended."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def log(self, message: object) -> None:
        """Write to the log, here stderr."""
        sys.stderr.write(str(message))


class TimedOut(BaseException):
    """Raised in a handler that is past its deadline; no `except Exception` holds it up."""


@contextlib.contextmanager
def deadline(seconds: float) -> Generator[None]:
    """Raise `TimedOut` in this block after so many seconds, where the system has timers for it."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""A handler as Lambda would run it: with a deadline, its answer or its error as JSON."""

from __future__ import annotations

import contextlib
import decimal
import inspect
import json
import re
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambda_secrets.cli.context import Context, TimedOut, deadline

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Awaitable


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """What came of one invocation: the answer as text, whether it is an error, the seconds."""

    answer: str
    failed: bool
    seconds: float


class Function:
    """A handler and its timeout in seconds. What it prints goes to stderr."""

    def __init__(
        self, target: str, handler: Any, timeout: float, stack: contextlib.ExitStack
    ) -> None:
        self._handler = handler
        self._timeout = timeout
        self._stack = stack
        self._runner: Runner | None = None
        self._name = re.split(r"[/.:]", target)[-1]

    def invoke(self, event: Any) -> Outcome:
        """Invoke it once."""
        context = Context(self._name, self._timeout)
        started = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr), deadline(self._timeout):
                answer, failed = _marshalled(self._called(event, context)), False
        except TimedOut:
            answer, failed = _timed_out(context, self._timeout), True
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an answer too
            answer, failed = _raised(error, context), True
        return Outcome(answer, failed, time.perf_counter() - started)

    def _called(self, event: Any, context: Context) -> Any:
        answer = self._handler(event, context)
        return self._awaited(answer) if inspect.isawaitable(answer) else answer

    def _awaited(self, answer: Awaitable[Any]) -> Any:
        """Run an async handler; one loop for all invocations, as connections live in a loop."""
        import asyncio

        async def wait() -> Any:
            return await answer

        if self._runner is None:
            self._runner = self._stack.enter_context(asyncio.Runner())
        return self._runner.run(wait())


def _marshalled(answer: Any) -> str:
    if isinstance(answer, bytes):
        return answer.decode("utf-8", "replace")
    try:
        return json.dumps(answer, ensure_ascii=False, default=_number)
    except (TypeError, ValueError, RecursionError) as error:
        raise _MarshalError(f"Unable to marshal response: {error}") from None


def _number(value: object) -> float:
    if isinstance(value, decimal.Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


class _MarshalError(Exception):
    """The answer is no JSON."""


def _raised(error: BaseException, context: Context) -> str:
    """Return what Lambda answers when a handler raises."""
    if isinstance(error, SystemExit):
        request = f"RequestId: {context.aws_request_id}"
        message = f"{request} Error: Runtime exited with error: exit status {error.code}"
        return _error_json("Runtime.ExitError", message)
    kind = "Runtime.MarshalError" if isinstance(error, _MarshalError) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [index for index, frame in enumerate(frames) if frame.filename == __file__]
    lines = traceback.format_list(frames[own[-1] + 1 :])
    return _error_json(kind, str(error), requestId=context.aws_request_id, stackTrace=lines)


def _timed_out(context: Context, timeout: float) -> str:
    request = f"RequestId: {context.aws_request_id}"
    message = f"{request} Error: Task timed out after {timeout:.2f} seconds"
    return _error_json("Sandbox.Timedout", message)


def _error_json(kind: str, message: str, **more: Any) -> str:
    return json.dumps({"errorType": kind, "errorMessage": message, **more}, ensure_ascii=False)

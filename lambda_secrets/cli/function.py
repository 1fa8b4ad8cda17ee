"""Runs a handler as Lambda would: with a deadline, and its answer or error as JSON."""

from __future__ import annotations

import contextlib
import decimal
import functools
import inspect
import json
import os
import re
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn

from lambda_secrets.testing import LambdaContext

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Generator, Mapping


# The frames above a handler's own are of these packages.
_CALLERS = (str(Path(__file__).parents[1]), str(Path(inspect.__file__).with_name("asyncio")))


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """The outcome of an invocation: answer as text, error if it failed, duration in seconds."""

    answer: str
    error: BaseException | None
    seconds: float


class Function:
    """A handler and its timeout in seconds; `attributes` are those of its context."""

    def __init__(
        self,
        target: str,
        handler: Any,
        stack: contextlib.ExitStack,
        *,
        timeout: float,
        attributes: Mapping[str, Any],
    ) -> None:
        self._handler = handler
        self._timeout = timeout
        self._stack = stack
        self._runner: Runner | None = None
        name = re.split(r"[/.:]", target)[-1]
        self._attributes: dict[str, Any] = {"function_name": name, "timeout": timeout, **attributes}

    def invoke(self, event: Any) -> Outcome:
        """Invoke the handler once."""
        context = LambdaContext(**self._attributes)
        error: BaseException | None = None
        started = time.perf_counter()
        try:
            with deadline(self._timeout):
                answer = _marshalled(self._called(event, context))
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - also an answer
            error, answer = raised, _raised(raised, context)
        return Outcome(answer, error, time.perf_counter() - started)

    def _called(self, event: Any, context: LambdaContext) -> Any:
        process = os.getpid()
        try:
            answer = self._handler(event, context)
            if inspect.isawaitable(answer) or inspect.isasyncgen(answer):
                answer = self._awaited(answer)
            return list(answer) if inspect.isgenerator(answer) else answer
        finally:
            if os.getpid() != process:  # the handler has forked: only its parent answers
                _exit_child(sys.exception())

    def _awaited(self, answer: Any) -> Any:
        """Run an async handler; all invocations share a loop, since connections belong to one."""
        import asyncio

        async def wait() -> Any:
            if inspect.isasyncgen(answer):
                return [item async for item in answer]
            return await answer

        if self._runner is None:
            self._runner = self._stack.enter_context(asyncio.Runner())
        return self._runner.run(wait())


class TimedOut(BaseException):
    """Raised in a handler that is past its deadline; `except Exception` does not catch it."""

    __module__, __qualname__ = "Sandbox", "Timedout"  # as Lambda names it, and a traceback prints


@contextlib.contextmanager
def deadline(seconds: float) -> Generator[None]:
    """Raise `TimedOut` in this block after so many seconds, if the system has interval timers.

    It is raised again each second, until the block has ended: its cleanup may wait too.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimedOut(f"Task timed out after {seconds:.2f} seconds")

    stop = functools.partial(signal.setitimer, signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        try:
            yield
        finally:
            stop()
    finally:
        stop()  # the timer may ring just before the first, and keep it from running


def _exit_child(error: BaseException | None) -> NoReturn:
    """End a process that the handler has forked, with the exit code that Python would give it."""
    status = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            status = _exit_status(error)
            if not isinstance(error.code, (int, NoneType)):
                sys.stderr.write(f"{error.code}\n")
        elif error is not None:
            print_traceback(error)
        sys.stdout.flush()
    finally:
        os._exit(status)  # also if the child has closed a stream


def _exit_status(error: SystemExit) -> int:
    """Return the exit code that Python gives a process that ends with this error."""
    if isinstance(error.code, int):
        return error.code & 0xFF
    return 0 if error.code is None else 1


def print_traceback(error: BaseException) -> None:
    """Print what a handler raised to stderr, from its own first frame on; never its locals."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_CALLERS):
        trace = trace.tb_next
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.traceback import Traceback

        shown = Traceback.from_exception(type(error), error, trace, show_locals=False)
        Console(stderr=True).print(shown)
    else:
        traceback.print_exception(type(error), error, trace)


def _marshalled(answer: Any) -> str:
    if isinstance(answer, list) and answer and all(isinstance(part, bytes) for part in answer):
        answer = b"".join(answer)  # the chunks of a generator
    if isinstance(answer, bytes):
        return answer.decode("utf-8", "replace")
    try:
        return json.dumps(answer, ensure_ascii=False, default=_as_lambda_does)
    except (TypeError, ValueError, RecursionError) as error:
        raise _MarshalError(f"Unable to marshal response: {error}") from None


def _as_lambda_does(value: object) -> str | float:
    """Return what the runtime's own encoder takes a value for that `json` refuses."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, decimal.Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


class _MarshalError(Exception):
    """The answer cannot be written as JSON."""

    __module__, __qualname__ = "Runtime", "MarshalError"  # as above


def _raised(error: BaseException, context: LambdaContext) -> str:
    """Return Lambda's answer for a handler that raised."""
    if isinstance(error, (TimedOut, SystemExit)):  # Lambda itself answers
        kind, reason = "Sandbox.Timedout", str(error)
        if isinstance(error, SystemExit):
            status = _exit_status(error)
            why = f"with error: exit status {status}" if status else "without providing a reason"
            kind, reason = "Runtime.ExitError", f"Runtime exited {why}"
        return _error_json(kind, f"RequestId: {context.aws_request_id} Error: {reason}")
    kind = "Runtime.MarshalError" if isinstance(error, _MarshalError) else type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the handler's own class
        message = "<exception str() failed>"  # as in Python's tracebacks
    return _error_json(kind, message, requestId=context.aws_request_id)


def _error_json(kind: str, message: str, **more: Any) -> str:
    return json.dumps({"errorType": kind, "errorMessage": message, **more}, ensure_ascii=False)

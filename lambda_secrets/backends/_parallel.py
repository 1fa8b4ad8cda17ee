"""Runs several jobs at once, each on a thread: boto3's calls, or requests of a `Client`."""

from __future__ import annotations

import contextvars
import functools
import threading
import time
from collections import deque

from ._connections import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .._names import Opaque
    from ._http import Client
    from ._types import Jobs, Outcome, Results

THREADS = 64  # at most in a round: more than connections, since a job may pause before a retry
LATE = 0.05  # seconds past the deadline in which the jobs of a client say what timed out


def side_by_side(
    jobs: Mapping[Any, Callable[[], Any]], until: float, threads: int, *, helps: bool = False
) -> Results:
    """Run the jobs on daemon threads, and return the results that are there by that time.

    If ``helps``, this thread is one of them: that saves time, but a job may then take more of it.
    What a job raises is raised.
    """
    results: Results = {}
    errors: list[BaseException] = []
    waiting = deque(jobs.items())
    finished = threading.Semaphore(0)

    def work() -> None:
        while True:
            try:
                key, job = waiting.popleft()
            except IndexError:  # nothing left, or another thread was faster
                break
            try:
                results[key] = job()
            except BaseException as error:  # noqa: BLE001 - raised below, at once
                errors.append(error)
                waiting.clear()
            finished.release()

    if not _started(work, min(len(jobs), threads) - helps) or helps:
        work()
    for _ in jobs:
        left = min(until - time.monotonic(), threading.TIMEOUT_MAX)
        if errors or not finished.acquire(timeout=max(left, 0)):
            waiting.clear()
            break
    if errors:
        raise errors.pop(0)  # kept, it would be in a reference cycle with this frame
    return {key: results[key] for key in jobs if key in results}  # in their order


def _started(work: Callable[[], None], threads: int) -> int:
    """Start up to so many threads; return how many there are."""
    for n in range(threads):
        run = contextvars.copy_context().run  # a thread of its own would start in an empty one
        thread = threading.Thread(
            target=run, args=(work,), name="lambda_secrets backend", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads: those started do the work, or the caller
            return n
    return threads


def run_in_room(client: Client, jobs: Jobs, deadline: float) -> Results:
    """Run the jobs of a client as `Client.run` does."""
    ask = _Room(client, deadline).ask
    bound = {key: functools.partial(job, ask) for key, job in jobs.items()}
    return side_by_side(bound, deadline + LATE, THREADS, helps=True)


class _Room:
    """The connections that the jobs of one round share."""

    def __init__(self, client: Client, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._places = threading.Semaphore(client.parallel)
        self._openings = threading.Semaphore(client.opening)
        self._spare = threading.Semaphore(client.parallel - 1)

    def ask(self, address: Any, request: Opaque) -> Outcome:
        """Send a request as `Client.ask` does, as soon as there is room for it."""
        has_place = self._enter(self._places)
        is_new = not self._client.idle.get(address)
        if not has_place or (is_new and not self._enter(self._openings)):
            return Fault("timeout")  # and release nothing: the round is over
        reply = self._client.ask(self._deadline, address, request)
        if is_new:
            self._openings.release()
        # The agent answers 429 for a connection: go on with those it did not refuse, or with one.
        refused = not isinstance(reply, Fault) and reply.status == 429
        if not (refused and self._spare.acquire(blocking=False)):
            self._places.release()
        return reply

    def _enter(self, semaphore: threading.Semaphore) -> bool:
        left = self._deadline - time.monotonic()
        return left > 0 and semaphore.acquire(timeout=min(left, threading.TIMEOUT_MAX))

"""Reads from AWS through boto3, which knows every way to authenticate: roles, SSO and more."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from .._values import opaque
from ..errors import BackendError, DeclarationError, ResolutionError
from ._calls import ConversingBackend, late
from ._endpoints import SERVICES
from ._states import ExpiredError, UnaskedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._names import Opaque
    from .._sources import Source
    from ._calls import Call, Task
    from ._types import Answers, Job, Sources

PARALLEL = 20  # calls at once
CONNECT_TIMEOUT, READ_TIMEOUT = 2, 5  # seconds; a round's timeout bounds both
LAST_CALL = 0.1  # seconds before the deadline: a retry that begins later would hide why it failed
of_our_calls = threading.local()  # whether this thread's log records are `filtered`


class SdkBackend(ConversingBackend):
    """AWS through boto3, which is imported on first use.

    Args:
        client: a Secrets Manager client of your own.
        session: a boto3 session that makes the clients. None: ``boto3.Session()``, in the region of
            ``AWS_REGION`` if that is set.
        batch: read current secrets by ``BatchGetSecretValue``, twenty a call. It has a quota of 100
            calls a second in an account, and needs its own permission on ``*`` in addition to
            ``GetSecretValue`` on each secret.
        parameter_client: an SSM client of your own.
        appconfig_client: an AppConfig Data client of your own.

    Raises:
        DeclarationError: when ``batch`` is not a bool, or a client or session lacks its methods.
    """

    name = "sdk"

    def __init__(
        self,
        *,
        client: Any = None,
        session: Any = None,
        batch: bool = False,
        parameter_client: Any = None,
        appconfig_client: Any = None,
    ) -> None:
        """Make no client yet."""
        super().__init__(batch=batch)
        self._given = {
            "secretsmanager": _checked(client, "get_secret_value", "batch_get_secret_value"),
            "ssm": _checked(parameter_client, "get_parameters", "get_parameters_by_path"),
            "appconfigdata": _checked(appconfig_client, "get_latest_configuration"),
        }
        self._given_session = _checked(session, "client")
        self._session = session
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._unusable = False

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Read the sources by parallel calls; retry transient failures within the timeout."""
        # After a fork the connections are the parent's. A session that found no credentials, no
        # region or expired credentials never looks for others.
        if self._unusable or self._pid != os.getpid():
            self._lock, self._pid, self._unusable = threading.Lock(), os.getpid(), False
            self.close()
        return super().fetch(sources, timeout=timeout, fresh=fresh)

    def _region_of(self, asked: Source | Call) -> str:
        service = SERVICES[asked.kind]
        return _region_in(self._clients.get((service, asked.region)) or self._given[service])

    def close(self) -> None:
        """Drop clients, connections and configurations; the next fetch makes new ones."""
        super().close()
        for client in (*self._given.values(), *self._clients.values()):
            # Closes its connections. A client of your own stays usable; it may lack close().
            getattr(client, "close", bool)()
        self._clients = {}
        self._session = self._given_session

    def _run(self, tasks: list[Task], deadline: float) -> Answers:
        jobs = self._jobs(tasks, deadline - LAST_CALL, deadline)
        return _side_by_side([*jobs.values()], deadline)

    def _made(self, call: Call, deadline: float) -> Job:
        """Make a call once, in time."""
        yield from ()  # boto3 sends its own requests
        if time.monotonic() >= deadline:  # nobody waits for further pages
            return late()
        try:
            of_our_calls.filtered = True
            client = self._client(call.service, call.region)
            if isinstance(client, ResolutionError):
                return client
            from botocore import xform_name

            page = opaque(getattr(client, xform_name(call.operation))(**call.arguments(0)))
            return _whole(page, has_stream=call.operation == "GetLatestConfiguration")
        except Exception as error:  # noqa: BLE001 - every error of botocore becomes one of ours
            from ._refusals import by_boto3

            failure = by_boto3(error, call.kind)
        finally:
            of_our_calls.filtered = False
        if isinstance(failure, (ExpiredError, UnaskedError)):
            self._unusable = True
        return failure

    def _client(self, service: str, region: str) -> Any:
        """Return the client for a service in a region, or an error if a given one is elsewhere."""
        given = self._given[service]
        if given is not None:
            own = _region_in(given)
            if not (region and own) or own == region:
                silence()
                return given
            if self._given_session is None:
                return BackendError(
                    f"the ARN names the region {region}, but the given client reads in {own}. "
                    "Give a session instead, which makes clients for other regions too."
                )
        with self._lock:  # making clients from one session is not thread-safe
            client = self._clients.get((service, region))
            if client is None:
                import boto3
                from botocore.config import Config

                silence()  # before a client is made: that may fetch credentials
                config = Config(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=READ_TIMEOUT,
                    max_pool_connections=PARALLEL,
                    # Retried here, until the deadline.
                    retries={"mode": "standard", "total_max_attempts": 1},
                    user_agent_extra="lib/lambda-secrets",
                )
                session = self._session  # another thread may drop it
                if session is None:  # boto3 does not read AWS_REGION, which Lambda sets
                    home = os.environ.get("AWS_REGION") or None
                    session = self._session = boto3.Session(region_name=home)
                client = session.client(service, config=config, region_name=region or None)
                self._clients[service, region] = client
            return client


def _region_in(client: Any) -> str:
    """Return the region of a client; empty if it tells none."""
    region = getattr(getattr(client, "meta", None), "region_name", "")
    return region if isinstance(region, str) else ""  # a mock has anything


def _side_by_side(jobs: list[Job], until: float) -> Answers:
    """Run the jobs on daemon threads, and return the answers that are there by that time.

    What a job raises is raised.
    """
    answers: Answers = {}
    errors: list[BaseException] = []
    waiting = deque(jobs)  # an iterator could give one job to two threads without the GIL
    done: SimpleQueue[Answers] = SimpleQueue()  # a signal's exception cannot break it

    def work() -> None:
        while True:
            try:
                job = waiting.popleft()
            except IndexError:  # nothing left, or another thread was faster
                break
            try:
                done.put(_result_of(job))
            except BaseException as error:  # noqa: BLE001 - raised below, at once
                errors.append(error)
                done.put({})
                break

    try:
        if not _started(work, min(len(jobs), PARALLEL)):
            work()
        for _ in jobs:
            left = min(until - time.monotonic(), threading.TIMEOUT_MAX)
            answers |= done.get(timeout=max(left, 0))
            if errors:
                raise errors.pop(0)  # kept, it would be in a reference cycle with this frame
    except Empty:  # the others are late
        pass
    finally:
        waiting.clear()
    return answers


def _started(work: Callable[[], None], threads: int) -> int:
    """Start up to so many threads; return how many there are."""
    for n in range(threads):
        run = contextvars.copy_context().run  # a thread of its own would start in an empty one
        thread = threading.Thread(target=run, args=(work,), name="lambda_secrets sdk", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: those started do the work, or the caller
            return n
    return threads


def _result_of(job: Job) -> Answers:
    """Run a job that asks for nothing but pauses."""
    try:
        pause: Any = next(job)
        while True:
            time.sleep(pause)
            pause = next(job)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a conversation ends with answers


def _whole(page: Opaque, *, has_stream: bool) -> Opaque:
    """Return a reply with its stream read.

    Raises for one that is not JSON, or was cut off: botocore takes both for empty ones.
    """
    if isinstance(page(0), dict) and page(0).keys() == {"ResponseMetadata"}:
        headers = page(0)["ResponseMetadata"].get("HTTPHeaders")
        if headers is not None and "json" not in headers.get("content-type", ""):
            from botocore.parsers import ResponseParserError

            raise ResponseParserError  # it is the page of a captive portal
        if headers and len(str(headers.get("content-length", ""))) > 1:  # it was not just {}
            from botocore.exceptions import IncompleteReadError

            raise IncompleteReadError(actual_bytes=0, expected_bytes=0)
    if has_stream:
        page = opaque({**page(0), "Configuration": page(0)["Configuration"].read()})
    return page


def _checked(given: Any, *methods: str) -> Any:
    """Return the object if it is None or has one of the methods; else raise."""
    is_class = isinstance(given, type)
    has_one = any(callable(getattr(given, method, None)) for method in methods)
    if given is None or (has_one and not is_class):
        return given
    got = "a class" if is_class else type(given).__name__
    raise DeclarationError(
        f"Cannot read from AWS: expected a boto3 object with a {methods[0]}() method, got {got}."
    )


# Logging: botocore's and urllib3's records of our own calls are dropped, since they quote replies
# and signed headers. The application's own calls are logged as before: the filter works only in the
# threads that make our calls.


def _passes(record: logging.LogRecord) -> bool:
    if not getattr(of_our_calls, "filtered", False):
        return True
    # A warning of urllib3 quotes a malformed reply; botocore's only name the problem.
    return record.levelno > logging.DEBUG and not record.name.startswith("urllib3")


def silence() -> None:
    """Filter all loggers of botocore and urllib3: importing boto3 has made them."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in {"botocore", "urllib3"}:
            logging.getLogger(name).addFilter(_passes)  # adds it once

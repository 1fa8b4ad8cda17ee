"""Which backends "auto" asks, in what order and for how long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    AutoBackend,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    ExtensionBackend,
    ResolutionError,
    SdkBackend,
    SecretNotFoundError,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._declarations import declare
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import AwsBackend, _auto as module, _beyond, _extension_failures
from lambda_secrets.backends._states import UnaskedError
from tests.support import faults
from tests.support.aws_endpoint import endpoint, found
from tests.support.clock import FakeClock
from tests.support.faults import FakeExtension, FaultServer, refusing_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from awslambdaric.lambda_context import LambdaContext

    from lambda_secrets import Source
    from tests.support.botocore_calls import BotocoreCalls
    from tests.support.faults import Action
    from tests.support.moto_server import MotoServer
    from tests.support.tls import TlsServer

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
X, TREE = declare("x").source, declare("ssm:/tree/").source


class FakeSdk:
    """An SDK backend that returns the test's answers and records its calls."""

    name = "sdk"

    def __init__(self, answers: Callable[[Source], Any] | None = None) -> None:
        """Answer "by sdk" unless told otherwise."""
        self.answers = answers or (lambda _: Answer("by sdk"))
        self.asked: list[list[Source]] = []
        self.timeouts: list[float] = []
        self.closed = 0
        self.during: Callable[[], object] = lambda: None

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> dict[Source, Any]:
        """Answer."""
        self.asked.append(list(sources))
        self.timeouts.append(timeout)
        self.during()
        return {source: self.answers(source) for source in self.asked[-1]}

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Pair:
    """An "auto" backend over a real extension client and a fake SDK."""

    def __init__(self, port: int, answers: Callable[[Source], Any] | None = None) -> None:
        """Ask the extension on this port."""
        self.sdk = FakeSdk(answers)
        self.extension = ExtensionBackend(port=port)
        self.auto = AutoBackend(extension=self.extension, sdk=cast("SdkBackend", self.sdk))

    def fetch(self, *names: str, timeout: float = 5, fresh: bool = False) -> list[Any]:
        """Return each value with the name of its backend, and each error as it is."""
        sources = [declare(name).source for name in names]
        answers = self.auto.fetch(sources, timeout=timeout, fresh=fresh)
        assert set(answers) == set(sources)
        return [shown(answers[source]) for source in sources]


def shown(answer: Answer | ResolutionError) -> Any:
    """Return an answer's value and backend, or an error as it is."""
    return (answer.value, answer.backend) if isinstance(answer, Answer) else answer


@pytest.fixture
def server() -> Iterator[FakeExtension]:
    """Run an extension that knows x."""
    with FakeExtension({"x": "by extension"}) as running:
        yield running


@pytest.fixture
def pair(server: FakeExtension) -> Pair:
    """Return a backend over that extension."""
    return Pair(server.port)


@pytest.fixture
def time_of_auto(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Stop the clocks that decide how long sources stay with the SDK."""
    clock = FakeClock()
    for part in (module, _beyond):
        monkeypatch.setattr(part, "time", clock)
    return clock


def test_the_extension_is_asked_first(pair: Pair) -> None:
    """The SDK is not asked for a source that the extension answers."""
    assert pair.fetch("x") == [("by extension", "extension")]
    assert pair.sdk.asked == []


def test_a_refused_connection_is_left_to_the_sdk_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If no extension listens, the SDK is asked at once, without a retry or a pause."""
    monkeypatch.setattr(_extension_failures, "pause_before", lambda _: pytest.fail("it waits"))
    with refusing_port() as port:
        pair = Pair(port)
        started = time.monotonic()
        assert pair.fetch("x", "y") == [("by sdk", "sdk")] * 2
        assert time.monotonic() - started < 1
        (left,) = pair.sdk.timeouts
        assert 4 < left <= 5


def test_a_refused_connection_is_not_remembered(server: FakeExtension) -> None:
    """After a refused connection, as in a cold start, the next round asks the extension again."""
    with refusing_port() as port:
        pair = Pair(port)
        assert pair.fetch("x") == [("by sdk", "sdk")]
    pair.extension._port = server.port
    assert pair.fetch("x") == [("by extension", "extension")]


@pytest.mark.parametrize(
    "first", [faults.NOT_READY, faults.reset, faults.answer("Connection limit exceeded", 429)]
)
def test_what_passes_is_waited_for(server: FakeExtension, pair: Pair, first: Action) -> None:
    """An extension that is busy, not ready or resets connections is asked again before the SDK."""
    replies = iter([first, first])
    server.fault = lambda _: next(replies, None)
    assert pair.fetch("x") == [("by extension", "extension")]
    assert pair.sdk.asked == []


def test_the_sdk_is_asked_what_the_extension_does_not_say(pair: Pair) -> None:
    """The SDK is asked for what the extension refuses without a reason, and for nothing else."""
    assert pair.fetch("x", "unknown") == [("by extension", "extension"), ("by sdk", "sdk")]
    assert pair.sdk.asked == [[declare("unknown").source]]


@pytest.mark.parametrize(
    "action",
    [
        faults.BAD_TOKEN,
        faults.GARBAGE,
        faults.answer("no JSON"),
        faults.answer("x", 500),
        faults.truncated("x" * 100),
        faults.answer("x", 404),
    ],
)
def test_whatever_the_extension_fails_at_the_sdk_may_read(action: Action) -> None:
    """If the extension is broken, or another program has its port, the SDK reads."""
    with FaultServer([action]) as server:
        assert Pair(server.port).fetch("x") == [("by sdk", "sdk")]


@pytest.mark.parametrize(
    ("variable", "text"), [("AWS_TOKEN", "file:///does/not/exist"), (PORT, "no port")]
)
def test_settings_that_stop_the_extension_do_not_stop_the_sdk(
    monkeypatch: pytest.MonkeyPatch, server: FakeExtension, variable: str, text: str
) -> None:
    """With a missing token file or an invalid port for the extension, the SDK still reads."""
    monkeypatch.setenv(PORT, str(server.port))
    monkeypatch.setenv(variable, text)
    backend = AutoBackend(sdk=cast("SdkBackend", FakeSdk()))
    (answer,) = backend.fetch([X], timeout=5, fresh=False).values()
    assert shown(answer) == ("by sdk", "sdk")


def test_trees_go_to_the_sdk(server: FakeExtension, pair: Pair) -> None:
    """The extension is not asked for a tree, which it has no call for."""
    assert pair.fetch("ssm:/tree/") == [("by sdk", "sdk")]
    assert server.requests == []
    assert pair.auto.upstream_ttl(TREE) == 0


@pytest.mark.parametrize(("own", "shown"), [(None, "sdk"), ("file", "file")])
def test_an_answer_may_name_another_backend_than_the_one_asked(own: str | None, shown: str) -> None:
    """A backend that stands in for boto3 may tell where its answers come from."""
    stand_in: Any = FakeSdk(lambda _: Answer("value", backend=own))
    answers = AutoBackend(sdk=stand_in).fetch([TREE], timeout=5, fresh=False)
    assert answers[TREE].backend == shown


def test_the_reasons_of_an_agent_are_taken_as_they_are(server: FakeExtension, pair: Pair) -> None:
    """The agent's "not found" and "denied" are AWS's own, so the SDK is not asked."""
    server.agent = True
    denied = faults.answer('{"__type":"AccessDeniedException","message":"no"}', 400)
    server.fault = lambda r: denied if r.query["secretId"] == "denied" else None
    missing, refused = pair.fetch("missing", "denied")
    assert type(missing) is SecretNotFoundError
    assert type(refused) is AccessDeniedError
    assert missing.backend == refused.backend == "extension"
    assert pair.sdk.asked == []


@pytest.mark.parametrize("kind", [SecretNotFoundError, AccessDeniedError])
def test_the_sdk_says_why(server: FakeExtension, kind: type[ResolutionError]) -> None:
    """AWS's reason, read by the SDK, replaces the extension's unexplained refusal."""
    pair = Pair(server.port, lambda _: kind("the reason"))
    (error,) = pair.fetch("unknown")
    assert type(error) is kind
    assert str(error) == "the reason"
    assert error.backend == "sdk"


def test_when_both_fail_both_are_told(server: FakeExtension) -> None:
    """The SDK's error decides the class; its message includes the extension's."""
    pair = Pair(server.port, lambda _: BackendUnavailableError("the network is down."))
    (error,) = pair.fetch("unknown")
    assert type(error) is BackendUnavailableError
    assert "the network is down." in str(error)
    assert "without a reason" in str(error)
    assert error.backend == "sdk"


def test_where_nobody_listens_the_sdk_alone_is_told() -> None:
    """Without an extension, the error does not mention it."""
    with refusing_port() as port:
        (error,) = Pair(port, lambda _: BackendError("no credentials.")).fetch("x")
    assert str(error) == "no credentials."


def test_trees_that_fail_do_not_mention_the_extension(server: FakeExtension) -> None:
    """The error for a tree does not mention the extension, which was not asked."""
    (error,) = Pair(server.port, lambda _: BackendError("b.")).fetch("ssm:/tree/")
    assert str(error) == "b."


def test_a_hanging_extension_leaves_the_sdk_half_of_the_time() -> None:
    """A hanging extension gets half of the timeout; the values that it did return are kept."""
    with FakeExtension({"x": "by extension"}) as server:
        server.fault = lambda r: faults.hang if r.query["secretId"] == "hangs" else None
        pair = Pair(server.port)
        started = time.monotonic()
        answers = pair.fetch("hangs", "x", timeout=0.4)
        assert 0.15 < time.monotonic() - started < 0.35
        assert answers == [("by sdk", "sdk"), ("by extension", "extension")]
        (left,) = pair.sdk.timeouts
        assert 0.1 < left <= 0.2


def test_no_time_left_is_none_below_zero(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    """If the extension overran, the SDK's timeout is zero, not negative."""
    clock = FakeClock()

    def overrun(*_: object, **__: object) -> dict[Source, Any]:
        clock.tick(9)
        return {}

    for part in (module, _beyond):
        monkeypatch.setattr(part, "time", clock)
    monkeypatch.setattr(pair.extension, "ask", overrun)
    pair.fetch("x", timeout=5)
    assert pair.sdk.timeouts == [0]


def test_prefetch_waits_for_no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the extension is not ready, as in INIT, prefetching asks the SDK without a retry."""
    monkeypatch.setattr(_extension_failures, "pause_before", lambda _: pytest.fail("it waits"))
    with FakeExtension({"x": "by extension"}) as server:
        server.fault = lambda r: faults.NOT_READY if r.query["secretId"] == "y" else None
        pair = Pair(server.port)
        answers = pair.auto.prefetch([X, declare("y").source], timeout=5)
        assert [shown(answer) for answer in answers.values()] == [
            ("by extension", "extension"),
            ("by sdk", "sdk"),
        ]


# Forced reads


def test_forced_reads_pass_the_extension(server: FakeExtension, pair: Pair) -> None:
    """A forced read goes to the SDK: the extension cannot bypass its cache."""
    assert pair.fetch("x", fresh=True) == [("by sdk", "sdk")]
    assert server.requests == []


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(None, 300), ("60", 60)], ids=["default", "sixty seconds"]
)
def test_a_forced_source_stays_with_the_sdk_until_the_extension_has_forgotten(
    monkeypatch: pytest.MonkeyPatch,
    pair: Pair,
    time_of_auto: FakeClock,
    ttl: str | None,
    seconds: float,
) -> None:
    """The old value does not come back from the extension, which may still cache it."""
    if ttl is not None:
        monkeypatch.setenv("SECRETS_MANAGER_TTL", ttl)
    pair.fetch("x", fresh=True)
    assert pair.auto.upstream_ttl(X) == 0
    time_of_auto.tick(seconds - 0.001)
    assert pair.fetch("x") == [("by sdk", "sdk")]
    assert pair.fetch("unknown") == [("by sdk", "sdk")]
    time_of_auto.tick(0.001)
    assert pair.auto.upstream_ttl(X) == seconds
    assert pair.fetch("x") == [("by extension", "extension")]


def test_staying_counts_from_the_end_of_the_forced_read(
    pair: Pair, time_of_auto: FakeClock
) -> None:
    """The stay starts when the read ends: the extension may cache the old value until then."""
    pair.sdk.during = lambda: time_of_auto.tick(10)
    pair.fetch("x", fresh=True)
    pair.sdk.during = lambda: None
    time_of_auto.tick(295)
    assert pair.fetch("x") == [("by sdk", "sdk")]


def test_ordinary_reads_do_not_prolong_the_stay(pair: Pair, time_of_auto: FakeClock) -> None:
    """Only a forced read restarts the stay."""
    pair.fetch("x", fresh=True)
    time_of_auto.tick(200)
    pair.fetch("x")
    time_of_auto.tick(100)
    assert pair.fetch("x") == [("by extension", "extension")]
    assert pair.fetch("x") == [("by extension", "extension")]


@pytest.mark.parametrize("jump", ["jump_monotonic", "jump_wall"])
def test_one_clock_that_jumps_does_not_end_the_stay(
    pair: Pair, time_of_auto: FakeClock, jump: str
) -> None:
    """The slower of two clocks decides how old the extension's cache is."""
    pair.fetch("x", fresh=True)
    getattr(time_of_auto, jump)(1_000)
    assert pair.fetch("x") == [("by sdk", "sdk")]


@pytest.mark.parametrize("kind", [SecretNotFoundError, AccessDeniedError])
def test_what_is_gone_or_denied_stays_so(
    server: FakeExtension, time_of_auto: FakeClock, kind: type[ResolutionError]
) -> None:
    """The extension's cache does not bring back what a forced read found gone or denied."""
    pair = Pair(server.port, lambda _: kind("gone"))
    pair.fetch("x", fresh=True)
    (error,) = pair.fetch("x")
    assert type(error) is kind


def test_a_forced_read_that_failed_changes_nothing(server: FakeExtension) -> None:
    """After a forced read that AWS did not answer, the extension is asked as before."""
    pair = Pair(server.port, lambda _: BackendUnavailableError("down"))
    (error,) = pair.fetch("x", fresh=True)
    assert type(error) is BackendUnavailableError
    assert pair.fetch("x") == [("by extension", "extension")]


def test_without_a_cache_behind_nothing_stays(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    """With the extension's cache off, the next read goes to the extension again."""
    monkeypatch.setenv("SECRETS_MANAGER_TTL", "0")
    pair.fetch("x", fresh=True)
    assert pair.fetch("x") == [("by extension", "extension")]


def test_an_agent_is_asked_past_its_cache(server: FakeExtension, pair: Pair) -> None:
    """An agent serves a forced read of a secret itself; one of a parameter goes to the SDK."""
    server.agent = True
    pair.fetch("x")
    assert pair.fetch("x", fresh=True) == [("by extension", "extension")]
    assert server.requests[-1].query["refreshNow"] == "true"
    assert pair.sdk.asked == []
    assert pair.fetch("ssm:p", fresh=True) == [("by sdk", "sdk")]


def test_the_old_value_does_not_flip_back(
    server: FakeExtension, pair: Pair, context: LambdaContext
) -> None:
    """After `refresh()`, a handler with `ttl=0` keeps getting the new value."""

    @inject_secrets({"x": "x"}, backend=pair.auto, ttl=0)
    def handler(_: object, context: Any) -> str:
        value: str = context.secrets.x
        return value

    server.secrets["x"] = "old"
    pair.sdk.answers = lambda _: Answer("new")
    assert handler({}, context) == "old"
    handler.secrets.refresh()
    assert [handler({}, context) for _ in range(3)] == ["new"] * 3


def test_the_end_of_a_stay_may_be_seen_twice(
    server: FakeExtension, time_of_auto: FakeClock
) -> None:
    """Several threads may notice the end of a stay at the same time."""
    pair = Pair(server.port)
    pair.fetch("x", fresh=True)
    time_of_auto.tick(1_000)

    class Vanishing(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            found = super().get(key, default)
            self.pop(key, None)
            return found

    beyond = pair.auto.beyond
    assert beyond is not None
    beyond._read_past = Vanishing(beyond._read_past)
    assert pair.fetch("x") == [("by extension", "extension")]


# AWS behind the extension


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    """Run a stand-in for AWS, and point the environment at it."""
    with endpoint(found, tmp_path, monkeypatch) as running:
        yield running


def alone(port: int, **options: Any) -> AutoBackend:
    """Return a backend that asks the extension on this port first."""
    return AutoBackend(extension=ExtensionBackend(port=port), **options)


def read(backend: AutoBackend, *names: str, timeout: float = 5, fresh: bool = False) -> list[Any]:
    """Return each value with the name of its backend, and each error as it is."""
    sources = [declare(name).source for name in names]
    answers = backend.fetch(sources, timeout=timeout, fresh=fresh)
    return [shown(answers[source]) for source in sources]


def test_inside_lambda_aws_is_asked_directly(
    aws: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Lambda, AWS is asked without an SDK, with the environment's credentials."""
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    with refusing_port() as port:
        backend = alone(port)
        assert read(backend, "x") == [("value of x", "aws")]
        backend.close()
    assert aws.requests[0].headers["user-agent"].startswith("lambda_secrets/")


def test_elsewhere_boto3_is_asked(aws: TlsServer) -> None:
    """Outside Lambda, boto3 is asked: it knows a laptop's profiles and a test's mocks."""
    with refusing_port() as port:
        backend = alone(port)
        assert read(backend, "x") == [("value of x", "sdk")]
        assert read(backend, "y") == [("value of y", "sdk")]
        backend.close()
    assert "Boto3" in aws.requests[0].headers["user-agent"]


def test_without_boto3_aws_is_asked_directly(
    aws: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside Lambda, AWS is asked directly if boto3 cannot be imported."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with refusing_port() as port:
        backend = alone(port)
        assert read(backend, "x") == [("value of x", "aws")]
        backend.close()


@pytest.fixture
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitate Lambda, without credentials in the environment."""
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


@pytest.mark.usefixtures("without_keys")
def test_where_only_boto3_can_ask_it_is_asked(server: FakeExtension) -> None:
    """If "aws" finds no credentials, boto3 is asked for the rest: it may find some."""
    sdk = FakeSdk()
    backend = alone(server.port, aws=AwsBackend(), sdk=cast("SdkBackend", sdk))
    assert read(backend, "x", "unknown") == [("by extension", "extension"), ("by sdk", "sdk")]


@pytest.mark.usefixtures("without_keys")
def test_a_failure_that_sources_share_is_explained_once_to_each() -> None:
    """The error of each of several sources says once why AWS was not asked without boto3."""
    late = BackendUnavailableError("AWS did not answer in time.")
    with refusing_port() as port:
        sdk = FakeSdk(lambda _: late)
        backend = alone(port, aws=AwsBackend(), sdk=cast("SdkBackend", sdk))
        errors = read(backend, "a", "b", "c")
    assert [str(error).count("without boto3") for error in errors] == [1, 1, 1]
    assert {error.backend for error in errors} == {"sdk"}


@pytest.mark.usefixtures("without_keys")
@pytest.mark.parametrize("missing", ["boto3", "credentials"])
def test_where_neither_can_ask_the_direct_way_says_why(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """If neither backend can ask, the error is that of "aws", which is meant for Lambda."""
    if missing == "boto3":
        monkeypatch.setitem(sys.modules, "boto3", None)
    with refusing_port() as port:
        backend = alone(port)
        (error,) = read(backend, "x")
        backend.close()
    assert kind_of(error) is BackendError
    assert error.backend == "aws"
    assert "AWS_ACCESS_KEY_ID" in str(error)


UNASKED = UnaskedError("boto3 finds no credentials.")


def test_a_blip_of_the_extension_stays_transient() -> None:
    """If AWS cannot be asked, a transient error of the extension stays transient."""
    with FakeExtension({"x": "by extension"}) as server:
        pair = Pair(server.port, lambda _: UNASKED)
        assert pair.fetch("x") == [("by extension", "extension")]
        server.fault = lambda _: faults.answer("x", 503)
        (error,) = pair.fetch("x", timeout=0.2)
        assert kind_of(error) is BackendUnavailableError
        assert error.backend == "extension"
        assert "HTTP 503" in str(error)
        assert "boto3 finds no credentials." in str(error)
        assert "sdk could not ask" in str(error)


def test_an_error_of_another_class_is_explained_too(server: FakeExtension) -> None:
    """A backend of your own may return an error whose class takes the message alone."""

    class SealedError(BackendError):
        def __init__(self, message: str) -> None:
            super().__init__(message)

    server.fault = lambda _: faults.answer("x", 503)
    (error,) = Pair(server.port, lambda _: SealedError("it is sealed.")).fetch("x", timeout=0.2)
    assert isinstance(error, SealedError)
    assert str(error).startswith("it is sealed. (The extension, asked first: ")
    assert error.backend == "sdk"


def test_only_an_error_of_the_extension_is_told(server: FakeExtension) -> None:
    """A backend of your own may answer for more than it was asked, here for what was answered."""

    class Generous(FakeSdk):
        def fetch(
            self, sources: Iterable[Source], *, timeout: float, fresh: bool
        ) -> dict[Source, Any]:
            wanted = [declare("x").source, *sources]
            return super().fetch(wanted, timeout=timeout, fresh=fresh)

    sdk = Generous(lambda _: BackendError("it is sealed."))
    errors = read(alone(server.port, sdk=cast("SdkBackend", sdk)), "x", "ssm:/a/")
    assert [str(error) for error in errors] == ["it is sealed."] * 2


def test_a_port_that_has_answered_before_is_missed() -> None:
    """A refused port is an outage if it has answered before; otherwise there is no extension."""
    with FakeExtension({"x": "v"}) as server, refusing_port() as nobody:
        pair = Pair(server.port, lambda _: UNASKED)
        assert pair.fetch("x") == [("v", "extension")]
        server.__exit__(None, None, None)
        (error,) = pair.fetch("x", timeout=0.2)
        assert kind_of(error) is BackendUnavailableError
        assert f"nothing listens on the extension's port {server.port}." in str(error)
        (error,) = Pair(nobody, lambda _: UNASKED).fetch("x")
        assert kind_of(error) is BackendError
        assert str(error) == "boto3 finds no credentials."


def test_the_extension_of_appconfig_does_not_vouch_for_the_other() -> None:
    """A refused port that never answered is not an outage, even if another port has answered."""
    with refusing_port() as nobody, FaultServer([faults.answer("on")]) as configurations:
        pair = Pair(nobody, lambda _: UNASKED)
        pair.extension.appconfig_port = configurations.port
        assert pair.fetch("appconfig:a/b/c") == [("on", "extension")]
        (error,) = pair.fetch("x")
        assert kind_of(error) is BackendError
        assert str(error) == "boto3 finds no credentials."


def test_a_refusal_with_nobody_to_explain_it_is_one(server: FakeExtension) -> None:
    """If AWS cannot be asked, an unexplained refusal of the extension is not transient."""
    (error,) = Pair(server.port, lambda _: UNASKED).fetch("unknown")
    assert kind_of(error) is BackendError
    assert "without a reason" in str(error)
    assert "auto" not in str(error)


@pytest.mark.parametrize(
    "fault", [faults.answer("x", 503), faults.reset, faults.truncated("x" * 9), faults.GARBAGE]
)
def test_what_was_read_past_a_failure_does_not_flip_back(
    pair: Pair, server: FakeExtension, time_of_auto: FakeClock, fault: Action
) -> None:
    """A value that the SDK read after a failure is not replaced by an older cached one."""
    server.fault = lambda _: fault
    assert pair.fetch("x", timeout=0.2) == [("by sdk", "sdk")]
    server.fault = lambda _: None
    assert pair.fetch("x") == [("by sdk", "sdk")]
    time_of_auto.tick(300)
    assert pair.fetch("x") == [("by extension", "extension")]


def test_an_extension_that_is_not_ready_costs_a_tenth_of_a_second() -> None:
    """AWS is asked after a tenth of a second, and the extension is left alone for a while."""
    with FakeExtension({"x": "by extension"}) as server:
        server.fault = lambda _: faults.NOT_READY
        pair = Pair(server.port)
        started = time.monotonic()
        assert pair.fetch("x", "y") == [("by sdk", "sdk")] * 2
        assert time.monotonic() - started < 0.5
        (left,) = pair.sdk.timeouts
        assert 4.5 < left <= 5
        server.requests.clear()
        assert pair.fetch("x") == [("by sdk", "sdk")]
        assert server.requests == []


def test_the_rest_of_an_extension_that_stays_unready_doubles(
    monkeypatch: pytest.MonkeyPatch, server: FakeExtension
) -> None:
    """An extension that stays unready is asked less and less often; once ready, at each round."""
    clock = FakeClock()
    for part in (module, _beyond):
        monkeypatch.setattr(part, "time", clock)
    server.fault = lambda _: faults.NOT_READY
    pair = Pair(server.port)
    for seconds in (1, 2, 4, 8):
        pair.auto.prefetch([X], timeout=5)
        asked = len(server.requests)
        clock.tick(seconds - 0.001)
        pair.fetch("x")
        assert len(server.requests) == asked
        clock.jump_wall(0.001)  # one of the clocks is enough
    server.fault = lambda _: None
    assert pair.fetch("x") == [("by extension", "extension")]
    assert pair.fetch("unknown", "x") == [("by sdk", "sdk"), ("by extension", "extension")]
    server.fault = lambda _: faults.NOT_READY
    pair.auto.prefetch([X], timeout=5)
    clock.tick(1)
    server.fault = lambda _: None
    assert pair.fetch("x") == [("by extension", "extension")]


def test_a_long_timeout_gives_the_extension_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension gets half of the timeout, at most one second."""
    shares: list[float] = []
    extension = ExtensionBackend(port=1)

    def ask(sources: Any, timeout: float, **_: Any) -> dict[Source, Any]:
        shares.append(timeout)
        return {source: BackendUnavailableError("down") for source in sources}

    monkeypatch.setattr(extension, "ask", ask)
    auto = AutoBackend(extension=extension, sdk=cast("SdkBackend", FakeSdk()))
    for timeout in (60, 5, 1):
        read(auto, f"x{timeout}", timeout=timeout)
    assert shares == [1, 1, 0.5]


def test_an_arn_of_another_region_is_asked_of_aws(server: FakeExtension, pair: Pair) -> None:
    """An ARN of another region goes to AWS: the extension would not find it."""
    far = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:far-AbCdEf"
    assert pair.fetch(far, "x") == [("by sdk", "sdk"), ("by extension", "extension")]
    assert server.asked() == ["x"]
    assert pair.auto.upstream_ttl(declare(far).source) == 0


def test_closing_before_the_first_read_closes_what_was_given() -> None:
    """Closing an unused "auto" backend closes the backends that it was given."""
    sdk = FakeSdk()
    AutoBackend(sdk=cast("SdkBackend", sdk)).close()
    assert sdk.closed == 1


def test_a_backend_without_a_close_is_passed() -> None:
    """A backend needs no close(); those that have one are closed all the same."""

    class Plain:
        def fetch(self, sources: Any, **_: Any) -> Any: ...

    sdk = FakeSdk()
    AutoBackend(aws=cast("AwsBackend", Plain()), sdk=cast("SdkBackend", sdk)).close()
    assert sdk.closed == 1


@pytest.mark.parametrize("wrong", ["aws", AwsBackend(), ExtensionBackend, {"prod/db": "canary"}])
def test_what_is_not_an_extension_is_refused(wrong: Any) -> None:
    """Another backend, or its name, is refused by the constructor, not at the first read."""
    with pytest.raises(DeclarationError, match="expected an ExtensionBackend, got ") as caught:
        AutoBackend(extension=wrong)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("option", ["aws", "sdk"])
def test_what_is_not_a_backend_is_refused(option: str) -> None:
    """An option without `fetch` is refused by the constructor; the error shows its type only."""
    wrong: Any = {option: {"prod/db": "canary"}}
    with pytest.raises(DeclarationError, match=r"a fetch\(\) method, got dict") as caught:
        AutoBackend(**wrong)
    assert "canary" not in str(caught.value)


def test_the_sdk_is_made_once(moto_server: MotoServer, botocore_calls: BotocoreCalls) -> None:
    """Threads that need the SDK at the same time share one backend with one client."""
    moto_server.put_secret("x", "v")
    with refusing_port() as port:
        backend = AutoBackend(extension=ExtensionBackend(port=port))
        answers: list[Any] = []
        botocore_calls.clients.clear()
        threads = [
            threading.Thread(
                target=lambda: answers.extend(backend.fetch([X], timeout=10, fresh=False).values())
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [shown(answer) for answer in answers] == [("v", "sdk")] * 4
        assert len(botocore_calls.clients) == 1
        backend.close()


def test_closing_closes_both(pair: Pair) -> None:
    """`close()` closes the connections of both backends; the next fetch opens new ones."""
    pair.fetch("x")
    pair.auto.close()
    assert pair.sdk.closed == 1
    assert pair.extension._client.idle == {pair.extension._port: []}
    assert pair.fetch("x") == [("by extension", "extension")]


CLOSE = """
import sys
from lambda_secrets import AutoBackend

AutoBackend().close()
assert not {"boto3", "lambda_secrets.backends._sdk"} & set(sys.modules)
"""


def test_closing_does_not_make_an_sdk() -> None:
    """Closing an unused backend imports no SDK."""
    subprocess.run([sys.executable, "-c", CLOSE], check=True, timeout=30)


def test_errors_of_either_are_of_the_five_kinds(server: FakeExtension, pair: Pair) -> None:
    """The error that a handler sees names the backend that decided it."""
    pair.sdk.answers = lambda _: SecretNotFoundError("there is none.")
    with pytest.raises(SecretNotFoundError) as caught:
        resolve_secrets({"good": "x", "bad": "unknown"}, backend=pair.auto)
    (leaf,) = caught.value.failures.values()
    assert kind_of(leaf) is SecretNotFoundError
    assert (leaf.name, leaf.source, leaf.backend) == ("bad", "unknown", "sdk")

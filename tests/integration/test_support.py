"""The fakes and sandboxes of the other tests work as described, without the package."""

from __future__ import annotations

import socket
import threading
import time
from http.client import BadStatusLine, HTTPConnection, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.support import faults
from tests.support.faults import FakeExtension, FaultServer
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.botocore_calls import BotocoreCalls
    from tests.support.clock import FakeClock
    from tests.support.moto_server import MotoServer


def get(connection: HTTPConnection, path: str = "/", token: str = "testing") -> tuple[int, bytes]:
    """Ask over this connection and return status and body."""
    connection.request("GET", path, headers={"X-Aws-Parameters-Secrets-Token": token})
    response = connection.getresponse()
    return response.status, response.read()


def sandbox_of(source: str, task_root: Path, **options: object) -> Sandbox:
    """Return a sandbox whose function is this source."""
    (task_root / "app.py").write_text(source)
    return Sandbox("app.lambda_handler", task_root, **options)  # type: ignore[arg-type]  # of several types


def test_each_fault_is_what_its_name_says() -> None:
    """A standard client meets a reset, a close, a cut body, garbage, chunks and drips in turn."""
    script = [
        faults.reset,
        faults.close,
        faults.truncated("0123456789"),
        faults.GARBAGE,
        faults.chunked("0123456789"),
        faults.drip("0123456789", size=20, seconds=0.001),
        faults.NOT_READY,
        faults.answer("fine"),
    ]
    with FaultServer(script) as server:
        client = HTTPConnection("127.0.0.1", server.port, timeout=5)
        for error in (ConnectionResetError, RemoteDisconnected, IncompleteRead, BadStatusLine):
            with pytest.raises(error):
                get(client)
            client.close()
        answers = [get(client) for _ in range(5)]
        client.close()
    assert answers == [
        (200, b"0123456789"),
        (200, b"0123456789"),
        (400, b"not ready to serve traffic, please wait\n"),
        (200, b"fine"),
        (200, b"fine"),
    ]
    assert (server.connections, len(server.requests)) == (5, 9)


def test_hang_waits_for_the_client_and_leaves_no_thread() -> None:
    """A hanging answer outlasts the client's timeout, and the server leaves no thread behind."""
    before = threading.active_count()
    with FaultServer([faults.hang]) as server:
        client = HTTPConnection("127.0.0.1", server.port, timeout=0.05)
        with pytest.raises(TimeoutError):
            get(client)
    client.close()
    assert threading.active_count() == before


def test_kept_alive_connection_can_die_between_requests() -> None:
    """A connection may close unannounced after an answer."""
    with FaultServer([faults.answer("a", keep=False), faults.answer("b")]) as server:
        client = HTTPConnection("127.0.0.1", server.port, timeout=5)
        assert get(client) == (200, b"a")
        with pytest.raises((RemoteDisconnected, ConnectionError)):
            get(client)
        client.close()


def test_nobody_answers_on_a_refusing_port() -> None:
    """A bound port without a listener refuses connections."""
    with faults.refusing_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_fake_extension_speaks_both_dialects() -> None:
    """Known and unknown names and a wrong token answer as the extension and the agent do."""
    for agent, bad_token, missing in ((False, 401, b"unexpected"), (True, 403, b"__type")):
        with FakeExtension(
            {"a+b": {"c": 1}, "bin": b"\xff"}, {"/p": ["x", "y"]}, agent=agent
        ) as server:
            client = HTTPConnection("127.0.0.1", server.port, timeout=5)
            status, body = get(client, "/secretsmanager/get?secretId=a%2Bb")
            assert status == 200
            assert b'{\\"c\\": 1}' in body
            assert (b"ResultMetadata" in body) is not agent
            assert b'"/w=="' in get(client, "/secretsmanager/get?secretId=bin")[1]
            assert missing in get(client, "/secretsmanager/get?secretId=a+b")[1]
            assert get(client, "/secretsmanager/get?secretId=bin", token="no")[0] == bad_token
            client.close()
            assert server.asked() == ["a+b", "bin", "a b", "bin"]


def test_fake_clock_moves_as_told(clock: FakeClock) -> None:
    """Ticks move both clocks; a jump moves one."""
    monotonic, wall = clock.monotonic(), clock.time()
    clock.tick(5)
    clock.jump_monotonic(-1)
    clock.jump_wall(10)
    assert (clock.monotonic() - monotonic, clock.time() - wall) == (4, 15)


def test_moto_keeps_versions_and_calls_are_counted(
    moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """A client made from the environment talks to moto, and its calls are seen."""
    moto_server.put_secret("s", "one")
    moto_server.put_secret("s", "two")
    botocore_calls.clear()
    client = boto3.client("secretsmanager")
    assert client.get_secret_value(SecretId="s")["SecretString"] == "two"
    previous = client.get_secret_value(SecretId="s", VersionStage="AWSPREVIOUS")
    assert previous["SecretString"] == "one"
    assert botocore_calls.by_operation == {"GetSecretValue": 2}


def test_moto_server_starts_empty(moto_server: MotoServer) -> None:
    """Nothing that an earlier test created is left."""
    assert moto_server.client("secretsmanager").list_secrets()["SecretList"] == []


def test_sandbox_runs_a_handler_more_than_once(tmp_path: Path) -> None:
    """Events, answers, errors, the deadline and the log pass between test and handler."""
    source = """
n = 0
def lambda_handler(event, context):
    global n
    n += 1
    print("invocation", n)
    if event.get("fail"):
        raise KeyError("on purpose")
    return [n, event, context.get_remaining_time_in_millis(), context.function_name]
"""
    with sandbox_of(source, tmp_path, timeout=7) as sandbox:
        count, event, remaining, name = sandbox.invoke({"x": "é"}).payload
        assert (count, event, name) == (1, {"x": "é"}, "tested")
        assert 6_000 < remaining <= 7_000
        failed = sandbox.invoke({"fail": True})
        assert failed.payload is None
        assert failed.error is not None
        assert (failed.error["errorType"], failed.error["errorMessage"]) == (
            "KeyError",
            "'on purpose'",
        )
        assert sandbox.invoke().payload[0] == 3
        assert "invocation 3" in sandbox.log()


def test_sandbox_reports_a_failed_init(tmp_path: Path) -> None:
    """A module that fails to import is an INIT error, after which nothing answers."""
    with sandbox_of("import no_such_module", tmp_path) as sandbox:
        error = sandbox.outcome().error
        assert error is not None
        assert error["errorType"] == "Runtime.ImportModuleError"
        with pytest.raises(AssertionError, match="no_such_module"):
            sandbox.invoke()


def test_sandbox_stops_at_the_snapshot(tmp_path: Path) -> None:
    """Under SnapStart the before hook runs, then nothing until the restore, then the after hook."""
    source = """
from snapshot_restore_py import register_after_restore, register_before_snapshot
seen = []
register_before_snapshot(seen.append, "before")
register_after_restore(seen.append, "after")
def lambda_handler(event, context):
    return seen
"""
    started = time.monotonic()
    with sandbox_of(source, tmp_path, snap_start=True) as sandbox:
        sandbox.restore()
        assert sandbox.invoke().payload == ["before", "after"]
    assert time.monotonic() - started < 20

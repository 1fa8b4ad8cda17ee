"""The stand-in as an HTTP server."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from lambda_secrets.cli.emulator import Emulator, Settings
from lambda_secrets.cli.emulator.dialects import Upstream
from lambda_secrets.cli.emulator.local import LocalValues
from tests.cli.emulator.conftest import TABLES, TOKEN, Client

if TYPE_CHECKING:
    from collections.abc import Callable

    EmulatorOf = Callable[..., Emulator]

PLAIN = "/secretsmanager/get?secretId=prod/plain"


def _exchange(port: int, *pieces: bytes) -> bytes:
    """Send these bytes on a fresh connection and return all that comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def test_the_connection_is_kept(emulator_of: EmulatorOf) -> None:
    """Many requests fit on one connection, refused ones too."""
    emulator = emulator_of()
    with Client(emulator.port) as client:
        client.get(PLAIN)
        first = client.connection.sock
        assert [client.get(target).status for target in ("/nowhere", PLAIN)] == [404, 200]
        assert client.connection.sock is first


def test_pipelined_requests_are_answered_in_order(emulator_of: EmulatorOf) -> None:
    """Requests sent together are answered together; HTTP/1.0 ends the connection."""
    emulator = emulator_of()
    received = _exchange(
        emulator.port, b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.0\r\n\r\n"
    )
    assert received.count(b"404 page not found") == 3
    assert received.count(b"Connection: close") == 1


@pytest.mark.parametrize(
    ("sent", "status_line"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"BREW / HTTP/1.1\r\n\r\n", b"HTTP/1.1 501 Not Implemented\r\n"),
    ],
)
def test_no_http_is_an_error_and_ends_the_connection(
    emulator_of: EmulatorOf, sent: bytes, status_line: bytes
) -> None:
    """What cannot be parsed is answered as plain text."""
    received = _exchange(emulator_of().port, sent)
    assert received.startswith(status_line)
    assert received.endswith(b"\r\n\r\n400 Bad Request")


def test_a_client_that_goes_away_is_no_error(
    emulator_of: EmulatorOf, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reset in mid-request leaves no trace, and the next client is served."""
    emulator = emulator_of()
    for _ in range(3):
        connection = socket.create_connection(("127.0.0.1", emulator.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(b"GET " + PLAIN.encode())
        connection.close()
    with Client(emulator.port) as client:
        assert client.get(PLAIN).status == 200
    assert capsys.readouterr().err == ""


def test_two_hundred_requests_from_twenty_connections(emulator_of: EmulatorOf) -> None:
    """Nothing is lost when twenty clients ask at once."""
    emulator = emulator_of()

    def ask(number: int) -> list[str]:
        with Client(emulator.port) as client:
            return [client.get(f"{PLAIN}&n={number}").json()["Name"] for _ in range(10)]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        names = [name for answers in pool.map(ask, range(20)) for name in answers]
    assert names == ["prod/plain"] * 200


def test_each_request_leaves_one_line_without_a_value(emulator_of: EmulatorOf) -> None:
    """A line has a level, the request, the status and the reason; no value and no token."""
    lines: list[tuple[str, str]] = []
    emulator = emulator_of(log=lambda level, line: lines.append((level, line)))
    with Client(emulator.port) as client:
        client.get("/secretsmanager/get?secretId=prod%2Fdb&odd=do-not-show")
        client.get(PLAIN)
        client.get("/secretsmanager/get?secretId=a%0Ab", X_Aws_Parameters_Secrets_Token="bad-one")
        client.get("/secretsmanager/get?secretId=nope")
    assert [level for level, _ in lines] == ["INFO", "INFO", "ERROR", "ERROR"]
    assert lines[0][1].startswith("GET /secretsmanager/get secretId=prod/db 200 read ")
    assert "secretId=a\\nb 401 wrong or missing token" in lines[2][1]
    assert "400 ResourceNotFoundException: Secrets Manager can't" in lines[3][1]
    text = str(lines)
    for canary in ("root", "a&b", "text", TOKEN, "bad-one", "do-not-show"):
        assert canary not in text


def test_only_the_loopback_addresses_are_listened_on(emulator_of: EmulatorOf) -> None:
    """Both addresses of localhost answer where this machine has them, no other does."""
    emulator = emulator_of()
    addresses = [server.socket.getsockname()[0] for server in emulator._servers]
    assert set(addresses) <= {"127.0.0.1", "::1"}
    with contextlib.suppress(OSError), socket.create_connection(("::1", emulator.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 404"


def test_a_stopped_stand_in_cuts_its_connections() -> None:
    """After the stop a kept-alive connection is over and nobody listens."""
    with Emulator(TABLES, token=TOKEN) as emulator, Client(emulator.port) as client:
        client.get(PLAIN)
        connection = client.connection.sock
        emulator.stop()
        assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", emulator.port))


def test_a_taken_port_is_an_oserror_and_leaves_nothing_open(emulator_of: EmulatorOf) -> None:
    """When the second port is taken the first is given back."""
    other = emulator_of()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    for port, appconfig_port in ((other.port, 0), (free, other.port)):
        with pytest.raises(OSError, match=r".") as caught:
            Emulator(TABLES, port=port, appconfig_port=appconfig_port).start()
        assert caught.value.errno == errno.EADDRINUSE
    with socket.create_server(("127.0.0.1", free)):
        pass


def test_it_makes_a_token_where_none_is_given() -> None:
    """Two stand-ins have tokens of their own, and tell a function where they are."""
    with Emulator(TABLES) as one, Emulator(TABLES) as other:
        assert len({one.token, other.token}) == 2
        assert one.environment == {
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(one.port),
            "AWS_APPCONFIG_EXTENSION_HTTP_PORT": str(one.appconfig_port),
            "AWS_SESSION_TOKEN": one.token,
        }
        with Client(one.port, one.token) as client:
            assert client.get(PLAIN).status == 200


def test_only_so_many_reads_at_a_time() -> None:
    """Of nine reads, three are under way at any time: MAX_CONNECTIONS is 3 by default."""
    three = threading.Barrier(3, timeout=5)
    under_way: list[int] = []
    most: list[int] = []

    def travel(_seconds: float) -> None:
        under_way.append(1)
        most.append(len(under_way))
        three.wait()
        under_way.pop()
        three.wait()

    upstream = Upstream(LocalValues(TABLES), Settings(), latency=1, sleep=travel)
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        reads = [pool.submit(upstream.secret, "prod/plain", None, None) for _ in range(9)]
        assert {read.result().name for read in reads} == {"prod/plain"}
    assert max(most) == 3

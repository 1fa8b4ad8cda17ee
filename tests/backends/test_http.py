"""The HTTP client of the extension path, against other parsers and against faults."""

from __future__ import annotations

import _socket
import contextlib
import errno
import http.client
import http.server
import inspect
import io
import os
import pickle
import select
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import h11
import pytest
from hypothesis import example, given, strategies as st

from lambda_secrets._values import opaque
from lambda_secrets.backends import _http as loopback
from lambda_secrets.backends._faults import Fault
from lambda_secrets.backends._http import Client, parsed
from lambda_secrets.backends._replies import any_reply
from lambda_secrets.backends._reply import LIMIT, Reply
from tests.support import faults
from tests.support.exchange import exchange, once, waits_of
from tests.support.faults import FaultServer, Request, refusing_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.faults import Action

OK = faults.answer("fine")


# The parser


class Whole(NamedTuple):
    """A reply as bytes, and what it says."""

    data: bytes
    status: int
    body: bytes
    framed: bool
    interim: list[int]


def by_h11(data: bytes, *, ended: bool) -> tuple[int, bytes] | None:
    """Return status and body as h11 reads them; None while the reply is incomplete."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 25)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if ended:
        connection.receive_data(b"")
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            return None
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, body


def by_http_client(data: bytes) -> tuple[int, bytes]:
    """Return status and body as the standard library reads them."""

    class Wire:
        def makefile(self, _: str) -> io.BytesIO:
            return io.BytesIO(data)

    response = http.client.HTTPResponse(cast("socket.socket", Wire()), method="GET")
    response.begin()
    return response.status, response.read()


def ours(data: bytes, *, ended: bool = False) -> tuple[int, bytes] | None:
    """Return status and body as we read them: the short way of usual replies as the full one."""
    reply, full = (outcome(read, data, ended=ended) for read in (parsed, any_reply))
    if isinstance(reply, ValueError):
        assert str(full) == str(reply)
        raise reply
    if reply is None:
        assert full is None
        return None
    assert isinstance(full, Reply)
    assert (full.reusable, full.headers(0)) == (reply.reusable, reply.headers(0))
    assert (full.status, full.body(0)) == (reply.status, reply.body(0))
    return reply.status, reply.body(0)


def outcome(
    read: Callable[..., Reply | None], data: bytes, *, ended: bool
) -> Reply | ValueError | None:
    """Return the reply that a parser finds, or its error."""
    try:
        return read(bytearray(data), ended=ended)
    except ValueError as error:
        return error


TOKENS = st.text("abcXYZ019-_", min_size=1, max_size=8)
WORDS = st.text("abc XYZ,;=()/<>\t\xe9", max_size=12).map(str.strip)
FIELDS = st.lists(st.tuples(TOKENS.map("x-{}".format), WORDS), max_size=4)


def head(lines: list[str]) -> bytes:
    """Return a message head with these lines."""
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


@st.composite
def replies(draw: st.DrawFn) -> Whole:
    """Draw a good reply in one of the framings of RFC 9112."""
    interim = draw(st.lists(st.sampled_from([100, 102, 103]), max_size=2))
    lead = b"".join(
        head([f"HTTP/1.1 {status} Early", *(f"{n}: {v}" for n, v in draw(FIELDS))])
        for status in interim
    )
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    status = draw(st.sampled_from([200, 200, 204, 304, 400, 401, 429, 500, 599]))
    body = draw(st.binary(max_size=60))
    lines = [f"HTTP/{version} {status} {draw(WORDS)}".rstrip()]
    lines += [f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{v}" for name, v in draw(FIELDS)]
    connection = draw(st.sampled_from(["", "", "close", "keep-alive", "Close"]))
    lines += [f"Connection: {connection}"] if connection else []
    framing = draw(st.sampled_from(["length", "chunks", "end"]))
    if status in {204, 304}:
        return Whole(lead + head(lines), status, b"", framed=True, interim=interim)
    if framing == "length":
        name = draw(st.sampled_from(["Content-Length", "content-length"]))
        length = f"{name}: {draw(st.sampled_from(['', '0', '00']))}{len(body)}"
        lines.insert(1, length)
        wire = body
    elif framing == "chunks":
        lines.append("Transfer-Encoding: Chunked")
        wire = draw(chunks_of(body))
    else:
        wire = body
    return Whole(lead + head(lines) + wire, status, body, framing != "end", interim)


@st.composite
def chunks_of(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a way to send a body in chunks, with extensions and trailers."""
    wire = b""
    while body:
        size = draw(st.integers(1, len(body)))
        digits = draw(st.sampled_from(["%x", "%X", "0%x"])) % size
        extension = draw(st.sampled_from(["", ";a=b", ';n="q"', ";x"]))
        wire += f"{digits}{extension}\r\n".encode() + body[:size] + b"\r\n"
        body = body[size:]
    trailers = [f"{name}: {value}" for name, value in draw(FIELDS)]
    return wire + draw(st.sampled_from([b"0", b"000", b"0;last"])) + b"\r\n" + head(trailers)


@given(replies())
def test_good_replies_are_read_as_others_read_them(whole: Whole) -> None:
    """We read the same status and body as h11 and http.client."""
    ended = not whole.framed
    expected = (whole.status, whole.body)
    assert by_h11(whole.data, ended=ended) == expected
    if not {102, 103} & set(whole.interim):  # http.client takes them for the reply
        assert by_http_client(whole.data) == expected
    assert ours(whole.data, ended=ended) == expected


@given(replies(), st.data())
def test_replies_may_arrive_in_any_pieces(whole: Whole, data: st.DataObject) -> None:
    """A reply is complete with its last byte and not before, wherever it is cut."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole.data) - 1), max_size=5)))
    received = bytearray()
    for begin, end in zip([0, *cuts], cuts, strict=False):
        received += whole.data[begin:end]
        assert parsed(received, ended=False) is None
    received += whole.data[cuts[-1] if cuts else 0 :]
    reply = parsed(received, ended=not whole.framed)
    assert reply is not None
    assert (reply.status, reply.body(0)) == (whole.status, whole.body)


@given(replies().filter(lambda whole: whole.framed), st.data())
def test_a_reply_cut_short_is_never_taken_for_whole(whole: Whole, data: st.DataObject) -> None:
    """A reply whose connection ends before its announced end is never taken for complete."""
    cut = data.draw(st.integers(0, len(whole.data) - 1))
    assert ours(whole.data[:cut], ended=True) is None


def test_a_chunked_reply_is_whole_with_its_last_byte_only() -> None:
    """A chunked body with extensions and trailers is complete with its last byte, not before."""
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"]
    for end in (b"0\r\n\r\n", b"0;last\r\nA: b\r\nC: d\r\n\r\n"):
        data = head(lines) + b"5;a=b\r\nhello\r\n10 \r\n, chunked world!\r\n" + end
        for cut in range(len(data)):
            assert ours(data[:cut]) is None
            assert ours(data[:cut], ended=True) is None
            assert not cut or by_h11(data[:cut], ended=False) is None
        assert ours(data) == (200, b"hello, chunked world!")


@given(replies(), st.data())
@example(
    Whole(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        200,
        b"",
        framed=True,
        interim=[],
    ),
    None,
)
def test_broken_replies_are_read_as_h11_reads_them_or_not_at_all(
    whole: Whole, data: st.DataObject | None
) -> None:
    """A corrupted reply is refused, or read exactly as a strict parser reads it."""
    wire = bytearray(whole.data)
    for _ in range(data.draw(st.integers(1, 3)) if data else 0):
        assert data is not None
        at = data.draw(st.integers(0, len(wire)))
        junk = data.draw(
            st.sampled_from([b"", b"0", b"x", b" ", b":", b"\r\n", b"\n", b"\x00", b"-", b"_"])
        )
        wire[at : at + data.draw(st.integers(0, 2))] = junk
    for ended in (False, True):
        try:
            found = ours(bytes(wire), ended=ended)
        except ValueError:
            continue
        if found is not None:
            assert by_h11(bytes(wire), ended=ended) == found


@given(st.binary(max_size=200), st.booleans())
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", False)
def test_garbage_is_refused_or_incomplete(data: bytes, ended: bool) -> None:
    """Bytes that are not HTTP raise ValueError or are incomplete, and are never a reply."""
    with contextlib.suppress(ValueError):
        assert ours(data, ended=ended) is None


@pytest.mark.parametrize(
    ("lines", "reusable"),
    [
        (["HTTP/1.1 200 OK", "Content-Length: 0"], True),
        (["HTTP/1.1 200 OK", "Content-Length: 0", "Connection: close"], False),
        (["HTTP/1.1 200 OK", "Content-Length: 0", "Connection: x, CLOSE"], False),
        (["HTTP/1.1 200 OK", "Content-Length: 0", "Connection: x", "Connection: close"], False),
        (["HTTP/1.0 200 OK", "Content-Length: 0"], False),
        (["HTTP/1.0 200 OK", "Content-Length: 0", "Connection: Keep-Alive"], True),
        (["HTTP/1.1 204 No Content"], True),
        (["HTTP/1.1 200 OK", "Content-Length: 0", "Content-Length: 0"], True),
    ],
)
def test_a_reply_says_whether_its_connection_can_be_kept(lines: list[str], reusable: bool) -> None:
    """HTTP/1.1 keeps a connection unless told otherwise; HTTP/1.0 is the other way round."""
    reply = parsed(bytearray(head(lines)), ended=False)
    assert reply is not None
    assert reply.reusable is reusable


@pytest.mark.parametrize(
    ("lines", "extra"),
    [
        (["HTTP/1.1 200 OK", "Content-Length: 4", "Transfer-Encoding: chunked"], b""),
        (["HTTP/1.0 200 OK", "Transfer-Encoding: chunked", "Connection: keep-alive"], b""),
        (["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"], b"HTTP/1.1 200 Stray\r\n"),
    ],
    ids=["two-framings", "chunks-before-http-1.1", "bytes-left-over"],
)
def test_a_connection_of_doubtful_framing_is_not_kept(lines: list[str], extra: bytes) -> None:
    """If a reply's end is in doubt (RFC 9112, section 6), its connection is not reused."""
    reply = parsed(bytearray(head(lines) + b"4\r\nfine\r\n0\r\n\r\n" + extra), ended=False)
    assert reply is not None
    assert (reply.body(0), reply.reusable) == (b"fine", False)


def test_a_reply_that_ends_its_connection_is_not_kept() -> None:
    """A connection that has ended cannot take another request."""
    reply = parsed(bytearray(head(["HTTP/1.1 200 OK", "Content-Length: 0"])), ended=True)
    assert reply is not None
    assert not reply.reusable


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nfi",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno trailer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"SSH-2.0",
    ],
)
def test_malformed_replies_are_refused(data: bytes) -> None:
    """Ambiguous framing, malformed headers and bytes that are not HTTP raise ValueError."""
    with pytest.raises(ValueError, match=r"not|malformed|unknown"):
        ours(data)


def test_headers_said_twice_are_joined() -> None:
    """Two lines of the same header are joined with a comma."""
    reply = parsed(
        bytearray(head(["HTTP/1.1 200 OK", "Vary: a", "VARY: b", "Content-Length: 0"])), ended=False
    )
    assert reply is not None
    assert reply.headers(0)["vary"] == "a, b"


def test_endless_replies_are_cut_off() -> None:
    """A reply that exceeds the limit is refused, not collected for ever."""
    for start in (b"HTTP/1.1 200 OK\r\nA: ", head(["HTTP/1.1 200 OK", "Content-Length: 99999999"])):
        assert ours(start + b"x" * (LIMIT - len(start))) is None
        with pytest.raises(ValueError, match="not an HTTP reply"):
            ours(start + b"x" * (LIMIT + 1 - len(start)))


def test_a_reply_does_not_pickle() -> None:
    """A reply cannot be pickled: its body may be a secret."""
    reply = parsed(bytearray(faults.message("hunter2")), ended=False)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(reply)


def test_a_reply_shows_no_value_to_what_reads_all_attributes() -> None:
    """Debuggers and `inspect.getmembers` read properties too."""
    reply = parsed(bytearray(faults.message("hunter2", headers={"A": "hunter2"})), ended=False)
    assert "hunter2" not in repr(inspect.getmembers(reply))


def test_headers_of_a_megabyte_are_read() -> None:
    """A head of a megabyte is read correctly."""
    lines = ["HTTP/1.1 200 OK", f"X-Large: {'x' * 1_000_000}", "Content-Length: 2"]
    assert ours(head(lines) + b"ok") == (200, b"ok")


# Connections


def get(port: int, path: str = "/") -> tuple[int, bytes]:
    """Return port and bytes of one GET, as `exchange` takes them."""
    return port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def told(result: Reply | Fault) -> tuple[int, bytes] | str:
    """Return status and body, or the kind of fault."""
    return result.kind if isinstance(result, Fault) else (result.status, result.body(0))


def ask(client: Client, port: int, *, timeout: float = 5) -> tuple[int, bytes] | str:
    """Send one request."""
    return told(exchange(client, {"it": get(port)}, timeout=timeout)["it"])


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a client without connections."""
    made = Client()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (OK, (200, b"fine")),
        (faults.answer("no", 503), (503, b"no")),
        (faults.chunked("in pieces" * 9), (200, b"in pieces" * 9)),
        (faults.drip("slowly", size=1, seconds=0.0), (200, b"slowly")),
        (faults.send(b"HTTP/1.1 200 OK\r\n\r\nto the end", keep=False), (200, b"to the end")),
        (faults.send(b"HTTP/1.0 200 OK\r\n\r\nold", keep=False), (200, b"old")),
        (faults.answer("x" * 3_000_000), (200, b"x" * 3_000_000)),
        (faults.close, "reset"),
        (faults.reset, "reset"),
        (faults.truncated("cut off here"), "truncated"),
        (faults.GARBAGE, "malformed"),
        (faults.send(b"HTTP/1.1 100 Continue\r\n\r\n" + faults.message("then")), (200, b"then")),
    ],
)
def test_every_answer_is_a_reply_or_says_its_fault(
    client: Client, action: Action, expected: tuple[int, bytes] | str
) -> None:
    """Replies in each framing are read; anything else is a fault that says why."""
    with FaultServer([action]) as server:
        assert ask(client, server.port) == expected


def test_a_reset_never_ends_a_body(client: Client) -> None:
    """A body that ends with its connection is incomplete if the connection is reset."""
    read = threading.Event()

    def tear(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of i")
        read.wait(5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    class Reader(loopback.Exchange):
        __slots__ = ()

        def proceed(self) -> Reply | Fault | None:
            result = super().proceed()
            if self.buffer(0):
                read.set()
            return result

    with FaultServer([tear]) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "exchange_class", Reader)
        assert ask(client, server.port) == "truncated"


def test_nobody_listening_is_refused(client: Client) -> None:
    """A refused connection is told apart from a lost one."""
    started = time.monotonic()
    with refusing_port() as port:
        assert ask(client, port) == "refused"
    assert time.monotonic() - started < 2


def test_connections_are_kept_and_reused(client: Client) -> None:
    """One connection serves one request after another, until the client is closed."""
    with FaultServer([OK]) as server:
        for _ in range(3):
            assert ask(client, server.port) == (200, b"fine")
        assert server.connections == 1
        client.close()
        assert ask(client, server.port) == (200, b"fine")
        assert server.connections == 2


def test_a_job_that_finds_no_room_leaves_kept_connections_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline, a job that waits for its second request keeps its first connection open."""
    monkeypatch.setattr(client, "parallel", 1)

    def twice(port: int) -> Any:
        yield get(port)[0], opaque(get(port)[1])
        return (yield get(port)[0], opaque(get(port)[1]))

    with FaultServer([OK]) as server, FaultServer([faults.hang]) as stuck:
        jobs = {"twice": twice(server.port), "stuck": once(*get(stuck.port))}
        results = client.run(jobs, time.monotonic() + 0.2)
        assert {told(result) for result in results.values()} == {"timeout"}
        assert ask(client, server.port) == (200, b"fine")
        assert server.connections == 1


@pytest.mark.parametrize("death", [faults.close, faults.reset], ids=["closed", "reset"])
def test_dead_kept_connection_is_replaced_once(client: Client, death: Action) -> None:
    """A request that kills a kept connection is sent once more, on a new one."""
    with FaultServer([OK, death, OK, death, death, OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 1, 2]
        assert ask(client, server.port) == "reset"
        assert [request.connection for request in server.requests] == [1, 1, 2, 2, 3]


def test_the_retry_goes_over_a_new_connection(client: Client) -> None:
    """A retry uses a new connection, as the other kept ones may be dead too."""
    with FaultServer(
        lambda r: (
            faults.delayed(0.05, OK) if r.number <= 2 else faults.close if r.number == 3 else OK
        )
    ) as server:
        both = exchange(client, {n: get(server.port) for n in range(2)}, timeout=5)
        assert [told(result) for result in both.values()] == [(200, b"fine")] * 2
        assert ask(client, server.port) == (200, b"fine")
        assert server.requests[3].connection == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(faults.truncated("cut off here"), "truncated"), (faults.GARBAGE, "malformed")],
)
def test_a_kept_connection_that_answers_badly_is_not_retried(
    client: Client, fault: Action, kind: str
) -> None:
    """A request is not retried after a partial or malformed reply: the other end has seen it."""
    with FaultServer([OK, fault, OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        assert ask(client, server.port) == kind
        assert len(server.requests) == 2


def test_a_new_connection_that_dies_is_not_retried(client: Client) -> None:
    """A request is not retried if a new connection dies: that is up to the caller."""
    with FaultServer([faults.close, OK]) as server:
        assert ask(client, server.port) == "reset"
        assert len(server.requests) == 1


def quiet_until_readable(client: Client, port: int) -> None:
    """Wait until something has arrived on the one idle connection."""
    (connection,) = client.idle[port]
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    assert poll.poll(5000)


def test_connection_closed_while_idle_is_not_used(client: Client) -> None:
    """A connection closed while idle, as the agent does after 61 s, gets no request."""
    with FaultServer([OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        server.drop_connections()
        quiet_until_readable(client, server.port)
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2]


def test_what_comes_unasked_answers_nothing(client: Client) -> None:
    """Bytes that arrive on an idle connection are never taken for the next reply."""
    stray = faults.message("of somebody else")
    late = threading.Event()

    def and_later(connection: socket.socket) -> bool:
        connection.sendall(faults.message("fine"))
        late.wait(5)
        connection.sendall(stray)
        return True

    with FaultServer([faults.send(faults.message("fine") + stray), and_later, OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        assert ask(client, server.port) == (200, b"fine")
        late.set()
        quiet_until_readable(client, server.port)
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2, 3]


def test_connection_torn_down_while_idle_is_not_used(client: Client) -> None:
    """An idle connection that was reset gets no request either."""
    torn = threading.Event()

    def tear(connection: socket.socket) -> bool:
        connection.sendall(faults.message("fine"))
        torn.wait(5)
        return faults.reset(connection)

    with FaultServer([tear, OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        torn.set()
        quiet_until_readable(client, server.port)
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2]


def test_connection_over_the_agents_limit_is_left(client: Client) -> None:
    """429 sticks to a connection: the next request goes over another."""
    with FaultServer([faults.answer("Connection limit exceeded", 429), OK]) as server:
        assert ask(client, server.port) == (429, b"Connection limit exceeded")
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2]


def by_path(request: Request) -> Action:
    """Hang on /hang; answer any other request with its path."""
    return faults.hang if request.path == "/hang" else faults.answer(request.path)


def test_one_that_hangs_keeps_nobody_else_back(client: Client) -> None:
    """With more requests than connections, all but the one that hangs are answered."""
    with FaultServer(by_path) as server:
        requests = {name: get(server.port, f"/{name}") for name in ["hang", *map(str, range(20))]}
        started = time.monotonic()
        results = exchange(client, requests, timeout=0.4)
        assert 0.3 < time.monotonic() - started < 0.9
        assert {name: told(result) for name, result in results.items()} == {
            "hang": "timeout",
            **{str(n): (200, f"/{n}".encode()) for n in range(20)},
        }
        assert server.connections <= Client.parallel


def test_what_finds_no_room_in_time_is_a_timeout(client: Client) -> None:
    """If all open connections hang, the requests that wait for one of them time out too."""
    with FaultServer([faults.hang]) as server:
        requests = {n: get(server.port) for n in range(client.parallel + 1)}
        results = exchange(client, requests, timeout=0.3)
        assert {told(result) for result in results.values()} == {"timeout"}
        assert server.connections <= client.opening


class OneByOne(http.server.BaseHTTPRequestHandler):
    """Answers in HTTP/1.0, each request on a connection of its own."""

    def do_GET(self) -> None:
        """Answer after a while in which others queue up."""
        time.sleep(0.002)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        """Keep the test output clean."""


def test_a_server_that_queues_few_connections_is_not_overrun(client: Client) -> None:
    """The standard library's server queues 6 connections; one more would wait for a second."""
    with http.server.HTTPServer(("127.0.0.1", 0), OneByOne) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started = time.monotonic()
        results = exchange(client, {n: get(server.server_port, "/") for n in range(30)}, timeout=5)
        assert time.monotonic() - started < 0.9
        assert {told(result) for result in results.values()} == {(200, b"")}
        server.shutdown()


def test_eight_requests_are_under_way_at_once(client: Client) -> None:
    """Six new connections begin together; two more may follow when some are established."""
    together = threading.Barrier(8, timeout=5)

    def at_once(request: Request) -> Action:
        if request.path not in {"/0", "/1"}:
            together.wait()
        return OK

    with FaultServer(at_once) as server:
        requests = {n: get(server.port, f"/{n}") for n in range(10)}
        results = exchange(client, requests, timeout=20)
    assert {told(result) for result in results.values()} == {(200, b"fine")}


def test_a_full_backlog_is_bounded_by_the_timeout(client: Client) -> None:
    """A port that accepts no connections costs one timeout in all, and delays no other."""
    with FaultServer([OK]) as server, socket.create_server(("127.0.0.1", 0), backlog=0) as stuck:
        port = stuck.getsockname()[1]
        fillers = [socket.socket() for _ in range(5)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        requests: dict[object, tuple[int, bytes]] = {n: get(port) for n in range(5)}
        requests["good"] = get(server.port)
        started = time.monotonic()
        results = exchange(client, requests, timeout=0.4)
        assert time.monotonic() - started < 0.9
        assert told(results.pop("good")) == (200, b"fine")
        assert {told(result) for result in results.values()} == {"timeout"}
        for filler in fillers:
            filler.close()


def test_what_a_job_raises_is_raised(client: Client) -> None:
    """An exception, such as a signal handler's, reaches the caller at once."""

    def fails(port: int) -> Any:
        yield port, opaque(b"GET / HTTP/1.1\r\n\r\n")
        raise KeyboardInterrupt

    with FaultServer([OK]) as server:
        jobs = {"fails": fails(server.port)}
        with pytest.raises(KeyboardInterrupt):
            client.run(jobs, time.monotonic() + 5)


def test_a_job_that_pauses_holds_no_other_back(client: Client) -> None:
    """A job resumes when its own pause ends. The other jobs go on in the meantime."""
    times: list[float] = []

    def pauses() -> Any:
        yield 0.2
        times.append(time.monotonic())
        reply = yield from once(*get(server.port))
        yield 0.1
        return told(reply), time.monotonic()

    def hurries() -> Any:
        for _ in range(3):
            yield from once(*get(server.port))
        return time.monotonic()

    with FaultServer([OK]) as server:
        begun = time.monotonic()
        jobs = {"pauses": pauses(), "hurries": hurries()}
        results = client.run(jobs, begun + 5)
        reply, ended = results["pauses"]
        assert reply == (200, b"fine")
        assert begun + 0.2 <= times[0] <= begun + 1
        assert times[0] + 0.1 <= ended <= times[0] + 1
        assert results["hurries"] < times[0]


def test_a_pause_ends_with_the_round(client: Client) -> None:
    """A job that pauses past the deadline is resumed then, and its next request times out."""

    def pauses() -> Any:
        yield 60.0
        reply = yield from once(*get(server.port))
        return told(reply)

    with FaultServer([OK]) as server:
        jobs = {"pauses": pauses(), "good": once(*get(server.port))}
        begun = time.monotonic()
        results = client.run(jobs, begun + 0.2)
        assert (results["pauses"], told(results["good"])) == ("timeout", (200, b"fine"))
        assert time.monotonic() - begun < 5
        assert server.connections == 1


def test_half_a_reply_at_the_deadline_is_a_timeout(client: Client) -> None:
    """The rest may be on its way: the reply is late, not cut off."""
    half = faults.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", keep=True)
    with FaultServer([half]) as server:
        assert ask(client, server.port, timeout=0.2) == "timeout"


def test_without_time_nothing_is_sent(client: Client) -> None:
    """With no time left, the result is a timeout, and no connection is opened."""
    with FaultServer([OK]) as server:
        assert ask(client, server.port, timeout=0) == "timeout"
        assert server.connections == 0


def test_any_number_is_a_timeout(client: Client) -> None:
    """A timeout of thousands of years is accepted."""
    with FaultServer([faults.delayed(0.01, OK)]) as server:
        assert ask(client, server.port, timeout=1e12) == (200, b"fine")


def test_waiting_does_not_spin(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last fraction of a millisecond is waited for, not spent in a busy loop."""
    waits = waits_of(client, monkeypatch)
    with FaultServer([faults.hang]) as server:
        assert ask(client, server.port, timeout=0.05) == "timeout"
    assert len(waits) < 10


def test_nothing_is_waited_for_before_a_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request is under way before the client waits for the first time."""
    waits = waits_of(client, monkeypatch)
    with FaultServer([OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
    assert set(waits) == {1}


def test_without_poll_select_is_used(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without poll, as on Windows, replies, refused connections and pauses work through select."""
    waited = select.select

    def on_windows(*args: Any) -> Any:
        if not any(args[:3]):
            raise OSError(10022, "An invalid argument was supplied")
        return waited(*args)

    def pausing(port: int) -> Any:
        yield 0.01
        return (yield from once(*get(port)))

    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(select, "select", on_windows)
    with FaultServer([OK]) as server, refusing_port() as port:
        assert ask(client, server.port) == (200, b"fine")
        assert ask(client, server.port) == (200, b"fine")
        assert ask(client, port) == "refused"
        paused = client.run({"it": pausing(server.port)}, time.monotonic() + 5)
        assert told(paused["it"]) == (200, b"fine")


def test_threads_share_a_client(client: Client) -> None:
    """Eight threads at once each get the replies to their own requests."""
    wrong: list[object] = []

    def work(thread: int) -> None:
        for n in range(15):
            requests = {i: get(server.port, f"/{thread}/{n}/{i}") for i in range(3)}
            results = exchange(client, requests, timeout=10)
            wrong.extend(
                told(result)
                for i, result in results.items()
                if told(result) != (200, f"/{thread}/{n}/{i}".encode())
            )

    with FaultServer(by_path) as server:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert server.connections <= 8 * 3


FORK = """
import os, sys
from lambda_secrets.backends._http import Client
from tests.support.exchange import exchange

client = Client()
request = {"it": (int(sys.argv[1]), b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")}
assert exchange(client, request, timeout=5)["it"].body(0) == b"fine"
child = os.fork()
assert exchange(client, request, timeout=5)["it"].body(0) == b"fine"
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert exchange(client, request, timeout=5)["it"].body(0) == b"fine"
else:
    client.close()
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_uses_connections_of_its_own() -> None:
    """After a fork, the child opens its own connection, and the parent keeps its own."""
    import subprocess

    with FaultServer([OK]) as server:
        subprocess.run([sys.executable, "-c", FORK, str(server.port)], check=True, timeout=30)
        assert server.connections == 2
        assert sorted(request.connection for request in server.requests) == [1, 1, 1, 2]


def test_another_process_lets_kept_connections_go(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process does not use connections that another process opened."""
    with FaultServer([OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert ask(client, server.port) == (200, b"fine")
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2, 2]


def test_no_thread_of_a_child_uses_a_connection_of_the_parent(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that reads while another lets these connections go opens one of its own."""

    class Other:
        def close(self) -> None:
            reader = threading.Thread(target=ask, args=(client, server.port))
            reader.start()
            reader.join()

    with FaultServer([OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        client.idle = {0: [Other()], **client.idle}
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2, 3]


class Stubborn(_socket.socket):
    """A socket whose calls raise the errors that a test sets, once each."""

    raising: dict[str, list[OSError]]
    waits = False

    def _call(self, name: str, *args: Any) -> Any:
        errors = self.raising.get(name, [])
        if errors:
            raise errors.pop(0)
        return getattr(super(), name)(*args)

    def connect(self, address: Any) -> None:
        """Raise, or connect; wait for the connection if `waits`."""
        self.settimeout(5 if self.waits else 0)
        self._call("connect", address)
        self.settimeout(0)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send a byte less than asked for, or raise."""
        sent: int = self._call("send", data[:-1] or data, flags)
        return sent

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive, or raise."""
        received: bytes = self._call("recv", size, flags)
        return received


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[OSError]]:
    """Let the client use stubborn sockets; return the errors that they will raise."""
    made: dict[str, list[OSError]] = {}
    monkeypatch.setattr(loopback, "socket", Stubborn)
    monkeypatch.setattr(Stubborn, "raising", made, raising=False)
    return made


def test_a_later_request_may_find_no_socket_left(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the later request fails: the connection of the first one stays usable."""

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with FaultServer([OK]) as server, FaultServer([OK]) as other:

        def job() -> Any:
            first = yield from once(*get(server.port))
            monkeypatch.setattr(loopback, "socket", none_left)
            second = yield from once(*get(other.port))
            return told(first), told(second)

        assert client.run({"it": job()}, time.monotonic() + 5)["it"] == ((200, b"fine"), "reset")
        monkeypatch.setattr(loopback, "socket", _socket.socket)
        assert ask(client, server.port) == (200, b"fine")
        assert server.connections == 1


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("raising", "expected"),
    [
        ({}, (200, b"fine")),
        ({"recv": [BlockingIOError()]}, (200, b"fine")),
        ({"send": [BlockingIOError()]}, (200, b"fine")),
        ({"send": [ConnectionRefusedError()]}, "refused"),
        ({"send": [BrokenPipeError()]}, "reset"),
        ({"connect": [OSError(errno.EADDRNOTAVAIL, "no address")]}, "reset"),
        ({"connect": [ConnectionRefusedError()]}, "refused"),
    ],
)
def test_sockets_may_do_what_posix_allows(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    errors: dict[str, list[OSError]],
    raising: dict[str, list[OSError]],
    expected: tuple[int, bytes] | str,
    *,
    waits: bool,
) -> None:
    """Partial sends, spurious wake-ups and late refusals give the right result without delay."""
    errors.update((name, list(some)) for name, some in raising.items())
    monkeypatch.setattr(Stubborn, "waits", waits)
    started = time.monotonic()
    with FaultServer([OK]) as server:
        assert ask(client, server.port) == expected
    assert time.monotonic() - started < 2


def test_kept_connection_that_cannot_send_is_replaced(
    client: Client, errors: dict[str, list[OSError]]
) -> None:
    """A request that could not be sent on a kept connection goes out on a new one."""
    with FaultServer([OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        errors["send"] = [BrokenPipeError()]
        assert ask(client, server.port) == (200, b"fine")
        assert [request.connection for request in server.requests] == [1, 2]


def test_a_replacement_that_cannot_connect_is_a_fault(
    client: Client, errors: dict[str, list[OSError]]
) -> None:
    """If the new connection is refused, the fault says so."""
    with FaultServer([OK]) as server:
        assert ask(client, server.port) == (200, b"fine")
        errors["send"] = [BrokenPipeError()]
        errors["connect"] = [ConnectionRefusedError()]
        assert ask(client, server.port) == "refused"


def test_no_file_descriptor_left_is_a_fault(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that cannot be created fails its request at once, with a fault worth a retry."""

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(loopback, "socket", none_left)
    started = time.monotonic()
    assert ask(client, 1) == "reset"
    assert time.monotonic() - started < 2

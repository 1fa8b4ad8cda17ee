"""A loopback server that answers each request as a test scripts it, faults included."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence


class Request(NamedTuple):
    """One request as it came over the wire."""

    raw: bytes
    connection: int
    number: int

    @property
    def target(self) -> str:
        """The path and query, still percent-encoded."""
        return self.raw.split(b" ", 2)[1].decode("ascii")

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded as the Go server of the extension does: a plus sign is a space."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name."""
        head = self.raw.partition(b"\r\n\r\n")[0]
        lines = head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}


if TYPE_CHECKING:
    Action = Callable[[socket.socket], bool]
    """Answers one request on its socket; true keeps the connection open for the next."""


def message(
    body: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a complete HTTP/1.1 response as bytes."""
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode("latin-1") + content


def send(data: bytes, *, keep: bool = True) -> Action:
    """Send these bytes; `keep=False` then closes the connection unannounced."""

    def act(connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return act


def answer(body: str | bytes, status: int = 200, *, keep: bool = True) -> Action:
    """Answer properly."""
    return send(message(body, status), keep=keep)


def truncated(body: str | bytes) -> Action:
    """Promise a whole body, send half of it, close."""
    data = message(body)
    return send(data[: len(data) - len(body) // 2 - 1], keep=False)


def chunked(body: str | bytes, size: int = 7) -> Action:
    """Answer in chunks of `size` bytes."""
    content = body.encode() if isinstance(body, str) else body
    chunks = [content[i : i + size] for i in range(0, len(content), size)]
    return send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    )


def drip(body: str | bytes, *, size: int, seconds: float) -> Action:
    """Answer properly, but `size` bytes at a time with a pause after each piece."""
    data = message(body)

    def act(connection: socket.socket) -> bool:
        for i in range(0, len(data), size):
            connection.sendall(data[i : i + size])
            time.sleep(seconds)
        return True

    return act


def delayed(seconds: float, action: Action) -> Action:
    """Run an action after a delay in seconds."""

    def act(connection: socket.socket) -> bool:
        time.sleep(seconds)
        return action(connection)

    return act


def close(_: socket.socket) -> bool:
    """Close the connection without an answer."""
    return False


def reset(connection: socket.socket) -> bool:
    """Reset the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(connection: socket.socket) -> bool:
    """Never answer; wait for the client to give up."""
    connection.recv(1)
    return False


GARBAGE = send(b"\x16\x03\x01\x02\x00 this is no HTTP at all\r\n\r\n", keep=False)
NOT_READY = answer("not ready to serve traffic, please wait\n", 400)
REFUSED = answer("an unexpected error occurred while executing request\n", 400)
BAD_TOKEN = answer("bad session token or header key\n", 401)
# Transient faults that end at once.
BROKEN = (close, reset, truncated('{"SecretString": "cut"}'), answer("", 500), answer("", 503))


class FaultServer:
    """Listens on a free loopback port; counts connections, keeps every request.

    `script` is a sequence with one action for each request, over all connections, whose last one
    is repeated; or a function that chooses the action for a request.
    """

    def __init__(self, script: Sequence[Action] | Callable[[Request], Action]) -> None:
        """Listen at once; answer requests once the context is entered."""
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start answering."""
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Drop every connection and leave no thread behind."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        for thread in self._threads:
            thread.join(5)

    def drop_connections(self) -> None:
        """Close every open connection without notice, as the agent does after 61 seconds."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._lock:
                    self.connections += 1
                    self._open.add(connection)
                self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            for raw in requests_on(connection):
                if not self._action(raw, number)(connection):
                    break
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _action(self, raw: bytes, connection: int) -> Action:
        with self._lock:
            request = Request(raw, connection, len(self.requests) + 1)
            self.requests.append(request)
        if callable(self._script):
            return self._script(request)
        return self._script[min(request.number, len(self._script)) - 1]


def requests_on(connection: socket.socket) -> Iterator[bytes]:
    """Yield each request, with its body if it has one, until the client closes."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                return
            received += data
        head, end, received = received.partition(b"\r\n\r\n")
        length = int(Request(head, 0, 0).headers.get("content-length", "0"))
        while len(received) < length:
            received += connection.recv(65536)
        yield head + end + received[:length] if length else head
        received = received[length:]


class FakeExtension(FaultServer):
    """A well-behaved extension or agent, whose values and delay a test may change at any time.

    `secrets` and `parameters` map a name to a string, bytes (secrets only), a list (a StringList)
    or a dict (JSON). `fault` may return an action that replaces the answer to a request.
    """

    def __init__(
        self,
        secrets: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        delay: float = 0.0,
        agent: bool = False,
        token: str = "testing",
        fault: Callable[[Request], Action | None] = lambda _: None,
    ) -> None:
        """Answer from these, each request after `delay` seconds."""
        super().__init__(self._choose)
        self.secrets = dict(secrets or {})
        self.parameters = dict(parameters or {})
        self.delay = delay
        self.agent = agent
        self.token = token
        self.fault = fault

    def asked(self) -> list[str]:
        """Return the names asked for, in the order of arrival."""
        queries = [request.query for request in self.requests]
        return [query.get("secretId", query.get("name", "")) for query in queries]

    def _choose(self, request: Request) -> Action:
        return self.fault(request) or delayed(self.delay, self.reply(request))

    def reply(self, request: Request) -> Action:
        """Return the normal answer to a request, in the dialect of the extension or the agent."""
        if request.headers.get("x-aws-parameters-secrets-token") != self.token:
            return answer("Bad Token", 403) if self.agent else BAD_TOKEN
        if request.path == "/secretsmanager/get":
            name, table, body = request.query["secretId"], self.secrets, secret_body
        else:
            name, table, body = request.query["name"], self.parameters, parameter_body
        found = table.get(name)
        if found is not None:
            return answer(json.dumps(body(found, agent=self.agent, name=name)))
        if self.agent:
            error = {
                "__type": "ResourceNotFoundException",
                "message": "can't find it",
            }
            return answer(json.dumps(error), 400)
        return REFUSED


def named(name: str | None, service: str) -> dict[str, str]:
    """Return the fields that name a secret or a parameter; without a name there are none."""
    if name is None:
        return {}
    if name.startswith("arn:"):
        return {"ARN": name, "Name": name.rpartition(":")[2]}
    ending = "-AbCdEf" if service == "secretsmanager:us-east-1:123456789012:secret:" else ""
    return {"ARN": f"arn:aws:{service}{name.lstrip('/')}{ending}", "Name": name}


def secret_body(value: Any, *, agent: bool, name: str | None = None) -> dict[str, Any]:
    """Return the answer for a secret, in either dialect."""
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    binary = base64.b64encode(text).decode() if isinstance(text, bytes) else None
    body = {
        **named(name, "secretsmanager:us-east-1:123456789012:secret:"),
        "SecretString": text if binary is None else None,
        "SecretBinary": binary,
        "VersionId": version_of(text),
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": "1700000000.5" if agent else "2022-11-16T08:22:40.499Z",
    }
    if agent:
        return {field: part for field, part in body.items() if part is not None}
    return {**body, "ResultMetadata": {}}


def parameter_body(value: Any, *, agent: bool, name: str | None = None) -> dict[str, Any]:
    """Return the extension's answer for a parameter, which the agent does not know."""
    assert not agent, "the agent has no Parameter Store"
    text = value if isinstance(value, str) else json.dumps(value)
    return {
        "Parameter": {
            **named(name, "ssm:us-east-1:123456789012:parameter/"),
            "DataType": "text",
            "Selector": None,
            "SourceResult": None,
            "Type": "StringList" if isinstance(value, list) else "String",
            "Value": ",".join(value) if isinstance(value, list) else text,
            "Version": 1,
        },
        "ResultMetadata": {},
    }


def version_of(value: str | bytes) -> str:
    """Return a version id that changes with the value."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, repr(value)))


@contextlib.contextmanager
def refusing_port() -> Generator[int]:
    """Reserve a loopback port without a listener, so that connecting is refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]

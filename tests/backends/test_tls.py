"""Trust, addresses, proxies and faults of connections to other machines."""

from __future__ import annotations

import errno
import gc
import json
import socket
import ssl
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets.backends import _tls as module
from lambda_secrets.backends._faults import Fault
from lambda_secrets.backends._tls import RemoteClient, Trust
from tests.support import faults
from tests.support.aws_endpoint import TRUST
from tests.support.exchange import exchange, once, waits_of
from tests.support.faults import FaultServer
from tests.support.tls import Authority, TlsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lambda_secrets.backends._reply import Reply
    from tests.support.faults import Action, Request
OK = faults.answer("fine")


@pytest.fixture(autouse=True)
def no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the variables that name certificates."""
    for name in TRUST:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the machine's certificate store, which the test writes."""
    file = tmp_path / "store.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return file


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the TLS context of a trusted server."""
    authority = Authority()
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(authority.pem)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    return authority.context(tmp_path, "localhost")


@pytest.fixture(scope="module")
def strangers() -> str:
    """Return the roots of 139 organizations that do not issue AWS's certificates."""
    return "".join(Authority(f"Organization {n}").pem for n in range(139))


@pytest.fixture
def client() -> Iterator[RemoteClient]:
    """Return a client without connections."""
    made = RemoteClient()
    yield made
    made.close()


def told(result: Reply | Fault) -> Any:
    """Return status and body, or the kind of fault."""
    return result.kind if isinstance(result, Fault) else (result.status, result.body(0))


def ask(
    client: RemoteClient,
    server: FaultServer,
    *,
    host: str = "localhost",
    tls: bool = True,
    timeout: float = 5,
) -> Any:
    """Send one request."""
    request = (host, server.port, tls), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return told(exchange(client, {"it": request}, timeout=timeout)["it"])


def served(folder: Path, authority: Authority, *hosts: str, script: Any = (OK,)) -> TlsServer:
    """Return a server with a certificate of that authority."""
    return TlsServer(list(script), authority.context(folder, *(hosts or ("localhost",))))


# Trust


def test_of_a_store_the_roots_of_aws_are_enough(
    client: RemoteClient, tmp_path: Path, store: Path, strangers: str
) -> None:
    """Only Amazon's root is loaded from a store of 140."""
    authority = Authority("Amazon")
    store.write_text(strangers + authority.pem)
    with served(tmp_path, authority) as server:
        assert ask(client, server) == (200, b"fine")
        assert client.trust.full is None
        assert len(client.trust.context().get_ca_certs()) == 1
        assert server.handshakes_failed == 0


def test_where_the_part_does_not_verify_the_whole_store_does(
    client: RemoteClient, tmp_path: Path, store: Path, strangers: str
) -> None:
    """A private root costs one extra connection, once: from then on the whole store is loaded."""
    private = Authority("Our own company")
    store.write_text(strangers + Authority("Amazon").pem + private.pem)
    with served(tmp_path, private) as server:
        assert ask(client, server) == (200, b"fine")
        assert client.trust.full
        assert server.handshakes_failed == 1
        client.close()
        assert ask(client, server) == (200, b"fine")
        assert server.handshakes_failed == 1


def test_ten_first_connections_may_find_the_part_too_small(
    client: RemoteClient, tmp_path: Path, store: Path, strangers: str
) -> None:
    """Each of ten connections that fail with the part is retried with the whole store."""
    private = Authority("Our own company")
    store.write_text(strangers + Authority("Amazon").pem + private.pem)
    with served(tmp_path, private) as server:
        request = ("localhost", server.port, True), b"GET / HTTP/1.1\r\n\r\n"
        results = exchange(client, dict.fromkeys(range(10), request), timeout=10)
        assert {told(result) for result in results.values()} == {(200, b"fine")}


def test_a_part_that_is_loaded_late_does_not_replace_the_whole_store(
    client: RemoteClient,
    tmp_path: Path,
    store: Path,
    strangers: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that is slow to find AWS's roots cannot undo what another one has found out."""
    private = Authority("Our own company")
    store.write_text(strangers + Authority("Amazon").pem + private.pem)
    read = module._issuers_in
    with served(tmp_path, private, script=(OK,) * 3) as server:

        def late(path: str) -> bytes:
            monkeypatch.setattr(module, "_issuers_in", read)
            assert ask(client, server) == (200, b"fine")  # as another thread does meanwhile
            return read(path)

        monkeypatch.setattr(module, "_issuers_in", late)
        for _ in range(2):
            assert ask(client, server) == (200, b"fine")
            client.close()


def test_a_bundle_that_cannot_be_loaded_is_forgotten(
    client: RemoteClient, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a wrong AWS_CA_BUNDLE, the machine's store counts again."""
    private = Authority("Our own company")
    store.write_text(Authority("Amazon").pem + private.pem)
    with served(tmp_path, private) as server:
        monkeypatch.setenv("AWS_CA_BUNDLE", "/nope")
        assert ask(client, server) == "trust"
        monkeypatch.delenv("AWS_CA_BUNDLE")
        assert ask(client, server) == (200, b"fine")


def test_a_store_without_roots_of_aws_is_loaded_whole(
    client: RemoteClient, tmp_path: Path, store: Path
) -> None:
    """A store without AWS's roots is loaded whole at once, without a failed handshake."""
    private = Authority("Our own company")
    store.write_text(private.pem)
    with served(tmp_path, private) as server:
        assert ask(client, server) == (200, b"fine")
        assert client.trust.full
        assert server.handshakes_failed == 0


def test_a_folder_is_read_on_demand(
    client: RemoteClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: Path,
    strangers: str,
) -> None:
    """OpenSSL finds a root in a folder by the hash of its name."""
    private = Authority("Our own company")
    folder = tmp_path / "certs"
    folder.mkdir()
    for n, pem in enumerate((private.pem, Authority("Amazon").pem)):
        for digest in (hash_of(pem), f"{hash_of(pem)[:-1]}{n}"):
            (folder / digest).write_text(pem)
    store.write_text(strangers + Authority("Amazon").pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    with served(tmp_path, private) as server:
        assert ask(client, server) == (200, b"fine")
        assert server.handshakes_failed == 0


def hash_of(pem: str) -> str:
    """Return the file name under which OpenSSL looks for this certificate."""
    import subprocess

    done = subprocess.run(
        ["openssl", "x509", "-hash", "-noout"],  # noqa: S607 - its path differs by system
        input=pem,
        capture_output=True,
        text=True,
        check=True,
    )
    return f"{done.stdout.strip()}.0"


@pytest.mark.parametrize("folder", [False, True])
def test_a_bundle_of_your_own_is_all_that_counts(
    client: RemoteClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: Path,
    *,
    folder: bool,
) -> None:
    """`AWS_CA_BUNDLE` is loaded whole, and replaces the machine's store."""
    private, amazon = Authority("Our own company"), Authority("Amazon")
    store.write_text(amazon.pem)
    bundle = tmp_path / "bundle"
    if folder:
        bundle.mkdir()
        (bundle / hash_of(private.pem)).write_text(private.pem)
    else:
        bundle.write_text(private.pem)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with served(tmp_path, private) as server:
        assert ask(client, server) == (200, b"fine")
    with served(tmp_path, amazon) as server:
        assert ask(client, server) == "untrusted"


def test_a_bundle_that_is_missing_trusts_nothing(
    client: RemoteClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong path is never a reason to trust another store."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with served(tmp_path, Authority()) as server:
        assert ask(client, server) == "trust"


def test_without_any_store_nothing_is_trusted(
    client: RemoteClient, tmp_path: Path, store: Path
) -> None:
    """If the store is missing or holds no certificate, no server is trusted."""
    for text in (
        None,
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
    ):
        if text is not None:
            store.write_text(text)
        with served(tmp_path, Authority()) as server:
            assert ask(RemoteClient(), server) == "untrusted"


@pytest.mark.parametrize(
    ("authority", "hosts"),
    [(Authority("Stranger"), ("localhost",)), (None, ("another.example",))],
    ids=["unknown root", "another host"],
)
def test_a_wrong_certificate_gets_no_request(
    client: RemoteClient,
    tmp_path: Path,
    store: Path,
    authority: Authority | None,
    hosts: tuple[str, ...],
) -> None:
    """No request is sent to a server with an unknown root or another host's certificate."""
    known = Authority("Amazon")
    store.write_text(known.pem)
    with served(tmp_path, authority or known, *hosts) as server:
        assert ask(client, server) == "untrusted"
        assert server.requests == []


def test_old_versions_of_tls_are_refused(store: Path) -> None:
    """TLS 1.2 is the oldest version that is accepted."""
    store.write_text(Authority().pem)
    assert Trust().context().minimum_version == ssl.TLSVersion.TLSv1_2
    assert Trust().whole().minimum_version == ssl.TLSVersion.TLSv1_2


# Addresses


def addressed(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[Any, ...]]) -> None:
    """Let every name resolve to these addresses."""
    real = socket.getaddrinfo
    made: Any = [(family, socket.SOCK_STREAM, 6, "", place) for family, place in addresses]

    def resolved(host: str, *args: Any, **options: Any) -> Any:
        return real(host, *args, **options) if host == "127.0.0.1" else made

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def test_a_share_of_the_time_ends_with_the_connection(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reply has all the time that is left, and is waited for without a busy loop."""
    waits = waits_of(client, monkeypatch)
    with FaultServer([faults.delayed(0.4, OK)]) as server:
        addressed(monkeypatch, *[(socket.AF_INET, ("127.0.0.1", server.port))] * 9)
        assert ask(client, server, tls=False, timeout=2) == (200, b"fine")
    assert len(waits) < 10


def test_addresses_share_the_time(client: RemoteClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A black-holed address uses only its share of the timeout, then the next one is tried."""
    with FaultServer([OK]) as server, full_backlog() as stuck:
        addressed(
            monkeypatch,
            (socket.AF_INET, ("127.0.0.1", stuck)),
            (socket.AF_INET, ("127.0.0.1", server.port)),
        )
        started = time.monotonic()
        assert ask(client, server, tls=False, timeout=1) == (200, b"fine")
        assert 0.4 < time.monotonic() - started < 0.9


def test_an_address_without_a_handshake_uses_its_share(
    client: RemoteClient, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that accepts a connection, and then is silent, leaves the others their time."""
    with TlsServer([OK], trusted) as server, socket.create_server(("127.0.0.1", 0)) as silent:
        places = silent.getsockname(), ("127.0.0.1", server.port)
        addressed(monkeypatch, *[(socket.AF_INET, place) for place in places])
        started = time.monotonic()
        assert ask(client, server, timeout=1) == (200, b"fine")
        assert 0.4 < time.monotonic() - started < 0.9
        client.close()


@pytest.mark.parametrize(
    ("busy", "pause", "timeout", "others"),
    [(0.3, 0, 4, 15), (0, 0.4, 1.4, 1), (0, 0.3, 1, 7), (0, 0.6, 1.5, 3)],
    ids=["we are busy", "it is slow", "it is far away", "its tunnel takes time"],
)
def test_an_address_that_answers_may_take_longer(
    client: RemoteClient,
    trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    *,
    busy: float,
    pause: float,
    timeout: float,
    others: int,
) -> None:
    """A share is at least 0.5 s, from the last answer, and only while we have time to read one."""
    ready = client.ready

    def slow(running: Any, until: float) -> Any:
        found = ready(running, until)
        time.sleep(busy)
        return found

    monkeypatch.setattr(client, "ready", slow)
    with TlsServer([OK], trusted) as server, Proxy() as proxy, faults.refusing_port() as nobody:
        proxy.pause = pause
        places = ("127.0.0.1", proxy.port), *[("127.0.0.1", nobody)] * others
        addressed(monkeypatch, *[(socket.AF_INET, place) for place in places])
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        assert ask(client, server, timeout=timeout) == (200, b"fine")
        client.close()


@pytest.mark.parametrize("timeout", [0.4, 1])
def test_after_an_address_the_other_family_is_next(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    """Eight addresses of a family whose packets are lost leave time for one of the other."""
    with FaultServer([OK]) as server, full_backlog() as stuck:
        lost = [(socket.AF_INET6, ("::ffff:127.0.0.1", stuck))] * 8
        addressed(monkeypatch, *lost, (socket.AF_INET, ("127.0.0.1", server.port)))
        assert ask(client, server, tls=False, timeout=timeout) == (200, b"fine")


def test_a_refused_address_is_passed_at_once(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that refuses at once leaves its time to the next one."""
    with FaultServer([OK]) as server, faults.refusing_port() as nobody:
        addressed(
            monkeypatch,
            (socket.AF_INET, ("127.0.0.1", nobody)),
            (socket.AF_INET, ("127.0.0.1", server.port)),
        )
        started = time.monotonic()
        assert ask(client, server, tls=False, timeout=5) == (200, b"fine")
        assert time.monotonic() - started < 1


def test_where_all_addresses_fail_the_last_one_is_told(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all addresses fail, the fault tells a refused connection from a timeout."""
    with faults.refusing_port() as nobody, FaultServer([OK]) as server, full_backlog() as stuck:
        addressed(monkeypatch, *[(socket.AF_INET, ("127.0.0.1", nobody))] * 2)
        assert ask(client, server, tls=False) == "refused"
        addressed(monkeypatch, (socket.AF_INET, ("127.0.0.1", stuck)))
        assert ask(client, server, host="stuck", tls=False, timeout=0.2) == "timeout"


def test_a_network_that_cannot_be_reached_is_passed_at_once(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a route to the first address, the next one is tried without waiting."""
    with FaultServer([OK]) as server:
        addressed(
            monkeypatch,
            (socket.AF_INET, ("255.255.255.255", 1)),
            (socket.AF_INET, ("127.0.0.1", server.port)),
        )
        started = time.monotonic()
        assert ask(client, server, tls=False, timeout=5) == (200, b"fine")
        assert time.monotonic() - started < 1


def test_a_network_that_cannot_be_reached_leaves_no_socket(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that fails to connect at once is closed: one left open is a warning here."""
    with FaultServer([OK]) as server:
        addressed(monkeypatch, (socket.AF_INET, ("255.255.255.255", 1)))
        assert ask(client, server, tls=False, timeout=5) == "reset"
    gc.collect()


def test_an_address_that_fails_leaves_no_reference_cycle(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the garbage collector, a cycle would stay: one for each connection."""

    class LostError(OSError):
        def __init__(self) -> None:
            made.add(self)

    def fail_once(*_: object) -> None:
        monkeypatch.undo()
        raise LostError

    made: weakref.WeakSet[LostError] = weakref.WeakSet()
    with FaultServer([OK]) as server:
        places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))] * 2
        monkeypatch.setattr(client, "addresses_of", lambda *_: places)
        monkeypatch.setattr(socket, "socket", fail_once)
        gc.disable()
        try:
            assert ask(client, server, tls=False) == (200, b"fine")
            assert not made
        finally:
            gc.enable()


@pytest.mark.parametrize("stage", ["connecting", "in the tunnel", "in the handshake"])
def test_the_deadline_leaves_no_reference_cycle(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """A connection that is not open in time leaves nothing to the garbage collector."""

    class Key:
        pass

    key = Key()
    left = weakref.ref(key)
    with full_backlog() as stuck, socket.create_server(("127.0.0.1", 0)) as silent:
        port = stuck if stage == "connecting" else silent.getsockname()[1]
        if stage == "in the tunnel":
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        request = ("127.0.0.1", port, True), b"GET / HTTP/1.1\r\n\r\n"
        gc.disable()
        try:
            (result,) = exchange(client, {key: request}, timeout=0.1).values()
            del key
            assert left() is None
        finally:
            gc.enable()
    assert told(result) == ("proxy" if stage == "in the tunnel" else "timeout")


@pytest.mark.parametrize("tls", [True, False])
def test_an_exception_closes_the_connections(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """What a signal handler raises leaves no connection open, though it refers to our frames."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "ready", interrupted)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        request = ("127.0.0.1", listener.getsockname()[1], tls), b"GET / HTTP/1.1\r\n\r\n"
        with pytest.raises(KeyboardInterrupt) as raised:
            exchange(client, dict.fromkeys(range(3), request), timeout=5)
        for _ in range(3):
            connection, _ = listener.accept()
            connection.settimeout(5)
            assert connection.recv(1) == b""
            connection.close()
    assert raised.value.__traceback__ is not None


@pytest.mark.parametrize("tls", [True, False])
def test_a_fault_refers_to_no_frame(client: RemoteClient, *, tls: bool) -> None:
    """A job keeps it in a frame: that would be a reference cycle, with a traceback of values."""
    request = ("does-not-exist.invalid", 443, tls), b"GET / HTTP/1.1\r\n\r\n"
    fault = exchange(client, {"it": request}, timeout=10)["it"]
    assert isinstance(fault, Fault)
    assert fault.__traceback__ is None
    assert fault.__context__ is None


def test_the_time_of_a_look_up_counts_for_pauses(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that pauses while a name is looked up does not begin to pause after that."""

    def slow(*_: object, **__: object) -> Any:
        time.sleep(0.4)
        raise socket.gaierror

    def pausing() -> Any:
        yield 0.5
        return time.monotonic() - started

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    request = ("slow.example", 443, False), b"GET / HTTP/1.1\r\n\r\n"
    started = time.monotonic()
    results = client.run({1: pausing(), 2: once(*request)}, started + 5)
    assert told(results[2]) == "unresolved"
    assert 0.5 <= results[1] < 0.8


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a..b", "x" * 300])
def test_a_name_without_an_address_is_told(client: RemoteClient, host: str) -> None:
    """A name that cannot be resolved and one that is malformed are the same fault."""
    with FaultServer([OK]) as server:
        assert ask(client, server, host=host, timeout=10) == "unresolved"


def test_names_are_looked_up_again_soon(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed look-up is shared by exchanges that begin together, but not by a later one."""
    lookups: list[Any] = []

    def resolved(host: str, port: int, **_: object) -> Any:
        lookups.append(host)
        if len(lookups) == 1:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(module, "LOOK_UP_KEPT", 60)
    with FaultServer([OK]) as server:
        request = ("aws", server.port, False), b"GET / HTTP/1.1\r\nHost: aws\r\n\r\n"
        results = exchange(client, dict.fromkeys(range(9), request), timeout=5)
        assert {told(result) for result in results.values()} == {"unresolved"}
        assert len(lookups) == 1
        client._addresses["aws", server.port] = (time.monotonic(), [])
        assert ask(client, server, host="aws", tls=False) == (200, b"fine")
        assert len(lookups) == 2


def test_a_request_does_not_wait_for_an_acknowledgement(client: RemoteClient) -> None:
    """Nagle's algorithm is off: a request would wait until a handshake's end is acknowledged."""
    with FaultServer([OK]) as server:
        assert ask(client, server, tls=False) == (200, b"fine")
        ((connection,),) = client.idle.values()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("http://proxy.invalid:3128", "the proxy's name cannot be resolved"),
        ("http://127.0.0.1:{port}", "the proxy refused the connection"),
    ],
)
def test_a_proxy_that_cannot_be_reached_is_told_of(
    client: RemoteClient, proxy: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault on the way to the proxy names the proxy, and not the host behind it."""
    with faults.refusing_port() as port:
        monkeypatch.setenv("HTTPS_PROXY", proxy.format(port=port))
        request = ("aws.example", 443, True), b"GET / HTTP/1.1\r\n\r\n"
        result = exchange(client, {"it": request}, timeout=5)["it"]
    assert isinstance(result, Fault)
    assert (result.kind, result.detail) == ("proxy", reason)


def test_a_resolver_that_fails_is_a_fault(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver without a free file descriptor raises a plain OSError: an outage like others."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with FaultServer([OK]) as server:
        assert ask(client, server) == "unresolved"


def test_no_file_descriptor_left_is_a_fault(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that cannot be made fails its own request."""

    def none_left(*_: object) -> None:
        raise OSError(24, "too many open files")

    with FaultServer([OK]) as server, monkeypatch.context() as patch:
        patch.setattr(socket, "socket", none_left)
        assert ask(client, server) == "reset"


class full_backlog:  # noqa: N801 - a context manager, used like a function
    """A loopback port where connections are neither accepted nor refused."""

    def __enter__(self) -> int:
        """Fill the queue of a listener that accepts nothing."""
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        port: int = self.listener.getsockname()[1]
        self.fillers = [socket.socket() for _ in range(5)]
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        return port

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        for each in (self.listener, *self.fillers):
            each.close()


# Faults


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (faults.close, "reset"),
        (faults.reset, "reset"),
        (faults.hang, "timeout"),
        (faults.truncated("cut off here"), "truncated"),
        (faults.GARBAGE, "malformed"),
        (faults.answer("x" * 3_000_000), (200, b"x" * 3_000_000)),
        (faults.chunked("in pieces" * 9), (200, b"in pieces" * 9)),
        (faults.drip("slowly", size=1, seconds=0.0), (200, b"slowly")),
        (faults.send(b"HTTP/1.1 200 OK\r\n\r\nto the end", keep=False), "truncated"),
        (faults.answer("", 204), (204, b"")),
    ],
    ids=range(10),
)
def test_every_answer_is_a_reply_or_says_its_fault(
    client: RemoteClient, trusted: ssl.SSLContext, action: Action, expected: Any
) -> None:
    """Replies are read as without TLS, except that an unannounced close never ends a body."""
    with TlsServer([action], trusted) as server:
        assert ask(client, server, timeout=0.5 if expected == "timeout" else 5) == expected


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("close", "reset"), ("reset", "reset"), ("hang", "timeout"), ("plain", "tls")],
)
def test_a_handshake_that_fails_is_a_fault(
    client: RemoteClient, trusted: ssl.SSLContext, stage: str, expected: str
) -> None:
    """A handshake that is closed, reset, unanswered or answered without TLS is a fault."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def accept() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            if stage == "hang":
                done.wait(5)
            if stage == "plain":
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if stage == "reset":
                faults.reset(connection)
            connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        server = FaultServer([OK])
        server.port = listener.getsockname()[1]
        assert ask(client, server, timeout=0.5) == expected
        done.set()
        thread.join()
        server._listener.close()


# Proxies


class Proxy(FaultServer):
    """An HTTP proxy that opens tunnels, unless a test scripts another answer."""

    reply = b"HTTP/1.1 200 Connection established\r\n\r\n"
    pause: float = 0  # seconds before the reply and after it

    def __init__(self, script: Any = None) -> None:
        """Open tunnels by default."""
        super().__init__(script or self.tunnel)

    def tunnel(self, request: Request) -> Action:
        """Connect to the target, and carry bytes both ways."""
        port = int(request.target.rpartition(":")[2])

        def act(connection: socket.socket) -> bool:
            with socket.create_connection(("127.0.0.1", port)) as other:
                time.sleep(self.pause)
                connection.sendall(self.reply)
                time.sleep(self.pause)
                back = threading.Thread(target=carry, args=(other, connection))
                back.start()
                carry(connection, other)
                back.join()
            return False

        return act


def carry(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes until the source ends."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # pragma: no cover - which end closes first differs
        pass


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("login", ["", "user:pass%40word@"])
def test_a_proxy_opens_a_tunnel(
    client: RemoteClient,
    trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    login: str,
) -> None:
    """TLS is spoken with the host itself: the proxy sees the host's name, but not the request."""
    with TlsServer([OK], trusted) as server, Proxy() as proxy:
        monkeypatch.setenv(variable, f"http://{login}127.0.0.1:{proxy.port}")
        assert ask(client, server) == (200, b"fine")
        (request,) = proxy.requests
        assert request.raw.startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n".encode())
        expected = "Basic dXNlcjpwYXNzQHdvcmQ=" if login else None
        assert request.headers.get("proxy-authorization") == expected
        client.close()


def test_a_login_may_be_in_any_encoding(
    client: RemoteClient, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of the variable are sent as they are: an error would show the password."""
    with TlsServer([OK], trusted) as server, Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://\udce9:\udcff@127.0.0.1:{proxy.port}")
        assert ask(client, server) == (200, b"fine")
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic 6Tr/"
        client.close()


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 200", "HTTP/1.0 200 OK"]
)
def test_a_proxy_need_not_give_a_reason(
    client: RemoteClient, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The status alone opens the tunnel: a reason after it is optional."""
    with TlsServer([OK], trusted) as server, Proxy() as proxy:
        proxy.reply = f"{line}\r\nVia: x\r\n\r\n".encode()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert ask(client, server) == (200, b"fine")
        client.close()


@pytest.mark.parametrize(
    ("excluded", "through"),
    [
        ("", True),
        ("example.com", True),
        ("host", True),
        ("localhost", False),
        ("a.example, localhost", False),
        (".localhost", False),
        ("*.localhost", False),
        ("*", False),
        ("localhost:443", False),
    ],
)
def test_some_hosts_are_reached_without_the_proxy(
    client: RemoteClient,
    trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    excluded: str,
    through: bool,
) -> None:
    """Hosts and domains in `NO_PROXY` are reached without the proxy."""
    monkeypatch.setenv("NO_PROXY", excluded)
    with TlsServer([OK], trusted) as server, Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        assert ask(client, server) == (200, b"fine")
        assert bool(proxy.requests) is through
        client.close()


def test_each_address_of_a_proxy_is_tried(
    client: RemoteClient, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that refuses the connection is passed over, one that refuses the tunnel is not."""
    real, ports = socket.getaddrinfo, [0]

    def resolved(host: str, *args: Any, **options: Any) -> Any:
        places = [("127.0.0.1", port) for port in ports]
        made = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        return made if host == "proxy.example" else real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    with TlsServer([OK], trusted) as server, Proxy() as proxy, faults.refusing_port() as nobody:
        ports[:] = nobody, proxy.port
        assert ask(client, server) == (200, b"fine")
        client.close()
    with TlsServer([OK], trusted) as server, Proxy([faults.hang]) as hangs, Proxy() as proxy:
        ports[:] = hangs.port, proxy.port
        assert ask(RemoteClient(), server, timeout=1) == (200, b"fine")
    with Proxy([faults.answer("", 407)]) as refuses, Proxy() as proxy:
        ports[:] = refuses.port, proxy.port
        assert ask(RemoteClient(), server) == "proxy"
        assert (refuses.connections, proxy.connections) == (1, 0)


def test_a_connection_lost_behind_a_proxy_is_not_its_fault(
    client: RemoteClient, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that closes the connection in the TLS handshake is told as without a proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy() as proxy:

        def close_one() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)  # else closing it is a reset, which the proxy may not pass on
            connection.close()

        closing = threading.Thread(target=close_one)
        closing.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        request = ("localhost", listener.getsockname()[1], True), b"GET / HTTP/1.1\r\n\r\n"
        assert told(exchange(client, {"it": request}, timeout=5)["it"]) == "reset"
        closing.join()


def test_plain_http_and_credentials_use_no_proxy(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain HTTP ignores `HTTPS_PROXY`, and so does a client made with `proxies=False`."""
    with FaultServer([OK]) as server, Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert ask(client, server, tls=False) == (200, b"fine")
        assert proxy.requests == []
    assert RemoteClient(proxies=False).proxy_for(("h", 443, True)) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (faults.answer("hunter2", 407), "the proxy refused the tunnel (407)"),
        (faults.close, "the proxy closed the connection"),
        (faults.reset, "the proxy closed the connection"),
        (faults.hang, "the proxy did not answer in time"),
        (
            faults.send(b"SSH-2.0 hunter2\r\n\r\n", keep=False),
            "the proxy refused the tunnel (no HTTP)",
        ),
        (
            faults.send(b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000, keep=False),
            "the proxy did not answer in HTTP",
        ),
    ],
    ids=["refused", "closed", "reset", "hangs", "not HTTP", "endless"],
)
def test_a_tunnel_that_is_refused_is_a_fault(
    client: RemoteClient,
    trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    answer: Action,
    reason: str,
) -> None:
    """Without a tunnel, nothing is sent to the server, and the fault names the proxy."""
    with TlsServer([OK], trusted) as server, Proxy([answer]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        request = ("localhost", server.port, True), b"GET / HTTP/1.1\r\n\r\n"
        timeout = 0.5 if answer is faults.hang else 5
        result = exchange(client, {"it": request}, timeout=timeout)["it"]
        assert isinstance(result, Fault)
        assert (result.kind, result.detail) == ("proxy", reason)
        assert server.connections == 0
        assert len(proxy.requests) == 1


def test_a_proxy_is_not_blamed_for_a_kept_connection(
    client: RemoteClient, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a tunnel that failed, a kept connection that has died is replaced as always."""

    def job() -> Any:
        with faults.refusing_port() as nobody:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{nobody}")
            first = yield from once(*request)
        monkeypatch.delenv("HTTPS_PROXY")
        assert ask(client, server) == (200, b"fine")  # as another thread does meanwhile
        second = yield from once(*request)
        return told(first), told(second)

    with TlsServer([OK, faults.close, OK], trusted) as server:
        request = ("localhost", server.port, True), b"GET / HTTP/1.1\r\n\r\n"
        found = client.run({"it": job()}, time.monotonic() + 5)
        assert found["it"] == ("proxy", (200, b"fine"))
        client.close()


@pytest.mark.parametrize(
    "url",
    ["https://proxy:1", "socks5://proxy:1", "http://", "http://h:x", "http://h:0", "http://[::1"],
)
def test_a_proxy_that_cannot_be_used_is_told(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """An invalid or unsupported proxy URL is a fault, and is never ignored."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    with FaultServer([OK]) as server:
        assert ask(client, server) == "proxy-url"
        assert server.connections == 0


def test_a_large_answer_is_json_as_it_was_sent(
    client: RemoteClient, trusted: ssl.SSLContext
) -> None:
    """A reply of 150 KB arrives whole over many TLS records."""
    text = json.dumps({"SecretString": "aß漢🔑" * 6_000})
    with TlsServer([faults.answer(text)], trusted) as server:
        assert ask(client, server) == (200, text.encode())

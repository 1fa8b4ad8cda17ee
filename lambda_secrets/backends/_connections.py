"""What becomes of connections: why one is broken, the next request on a kept one, the end."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._http import Client, Exchange, _Round
    from ._types import Exchanges, Outcome


class Fault:
    """Why there is no reply.

    ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``; from other machines also
    ``unresolved``, ``untrusted``, ``trust``, ``tls`` or ``proxy``. ``detail`` may say more.
    """

    __slots__ = ("detail", "kind")

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind: str = kind
        self.detail: str = detail


def broken(exchange: Exchange, error: Exception) -> Fault:
    """Return what an error means that ends an exchange, whose connection is closed."""
    if exchange.connection is not None:
        exchange.connection.close()
    if not isinstance(error, OSError):
        return Fault("malformed")
    return Fault("truncated") if exchange.buffer(0) else exchange.fault(error)


def fault_of(error: OSError) -> Fault:
    """Return what an error before the first byte of a reply means."""
    return Fault("refused" if isinstance(error, ConnectionRefusedError) else "reset")


def begin_on_kept(client: Client, exchange: Exchange) -> bool:
    """Give the exchange an idle connection that has been quiet; tell whether there was one."""
    while (connection := client.take(exchange.address)) is not None:
        try:
            connection.recv(1)  # what came unasked must not answer the next request
        except exchange.blocked:
            exchange.begin(connection, reused=True)
            return True
        except OSError:
            pass
        connection.close()
    return False


def give_up_connection(current: _Round, exchange: Exchange, reply: Outcome) -> bool:
    """Close a connection that is no good any more; tell whether the exchange goes on without it.

    A kept connection may have died unnoticed: its request is sent once more, on a new one, since
    what has killed one may have killed them all.
    """
    exchange.connection.close()
    current.good.discard(exchange.connection)
    if isinstance(reply, Fault):
        if reply.kind != "reset" or not exchange.reused:
            return False
        fault = current.client.connect(exchange, current.deadline)
        if fault is not None:
            reply.kind = fault.kind
        return fault is None
    if reply.status == 429 or current.room < current.client.parallel:
        # The agent says 429 of a connection: go on with those that it answers, or with one.
        current.room = max(1, len(current.good))
    return False


def end(current: _Round) -> None:
    """End what has no result by the deadline: a late reply is never the next request's."""
    current.deadline = 0.0
    for exchange in current.running:
        exchange.connection.close()
    for exchange in (*current.waiting, *current.running):
        current.resume(exchange, Fault("timeout"))


def ready(running: Exchanges, seconds: float) -> Exchanges:
    """Wait as `Client.ready` does, where there is no `select.poll`: on Windows."""
    writing = [exchange.connection for exchange in running if exchange.writes]
    reading = [exchange.connection for exchange in running if not exchange.writes]
    # A connection that fails to connect is reported as an exception there.
    found = {each for some in select.select(reading, writing, writing, seconds) for each in some}
    return [exchange for exchange in running if exchange.connection in found]

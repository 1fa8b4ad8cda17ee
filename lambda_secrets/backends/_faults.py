"""Why no reply came."""

from __future__ import annotations


class Fault(OSError):  # noqa: N818 - mostly a result
    """The reason why no reply came. `RemoteExchange` raises it.

    ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``; from other machines also
    ``unresolved``, ``untrusted``, ``trust``, ``tls``, ``proxy`` or ``proxy-url``. ``detail`` may
    say more.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail


def fault_of(error: Exception, *, begun: bool) -> Fault:
    """Return the fault that an error means, before a reply or, if ``begun``, within one."""
    if not isinstance(error, OSError):
        return Fault("malformed")
    if isinstance(error, TimeoutError):
        return Fault("timeout")
    if begun:
        return Fault("truncated")
    if isinstance(error, Fault):
        return Fault(error.kind, error.detail)  # this one refers to frames, which may keep it
    return Fault("refused" if isinstance(error, ConnectionRefusedError) else "reset")

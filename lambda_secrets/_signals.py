"""Tells exceptions of signal handlers, which must propagate, from those of other people's code."""

from __future__ import annotations


def is_from_signal(error: BaseException) -> bool:
    """Whether a signal handler raised this: for Ctrl-C, a timer or the end of the process."""
    if isinstance(error, KeyboardInterrupt):
        return True
    import signal  # its enums cost a cold start a millisecond

    handlers = map(signal.getsignal, signal.valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False

"""Every handler, by its module's name, with the processor's seconds since the process began."""

import importlib
import time


def __getattr__(name):
    """Return the handler of a module."""
    handler = importlib.import_module(name).handler

    def timed(event, context):
        return handler(event, context), time.process_time()

    return timed

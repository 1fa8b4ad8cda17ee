"""Every handler, by its module's name, with the files that it loads and if they have bytecode."""

import importlib
import sys
from pathlib import Path


def __getattr__(name):
    """Return the handler of a module."""
    handler = importlib.import_module(name).handler

    def loaded(event, context):
        handler(event, context)
        return {
            module.__file__: bool(module.__cached__) and Path(module.__cached__).exists()
            for module in [*sys.modules.values()]
            if getattr(module, "__file__", None) and getattr(module, "__cached__", None)
        }

    return loaded

"""Keeps botocore's and urllib3's records of our own calls out of the logs, and nothing else.

They quote replies and signed headers. The application's own calls are logged as before: the
filter works only in the threads that make our calls.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_ours = threading.local()


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """While it is entered, this thread's calls are ours."""
    _ours.calling = True
    try:
        yield
    finally:
        _ours.calling = False


def _passes(record: logging.LogRecord) -> bool:
    if not getattr(_ours, "calling", False):
        return True
    # A warning of urllib3 quotes a malformed reply; botocore's own name what went wrong.
    return record.levelno > logging.DEBUG and not record.name.startswith("urllib3")


@functools.cache
def silence() -> None:
    """Filter every logger of botocore and urllib3, including those that do not exist yet."""
    import botocore
    import urllib3

    for package in (botocore, urllib3):
        for name in _modules(package.__name__, list(package.__path__)):
            logging.getLogger(name).addFilter(_passes)


def _modules(name: str, folders: list[str]) -> Iterator[str]:
    """Name a package and all modules below it, imported or not."""
    yield name
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except OSError:  # it is in a zip, which pkgutil knows, at the cost of its import
            from pkgutil import walk_packages

            yield from (module.name for module in walk_packages([folder], f"{name}."))
            continue
        for entry in entries:
            stem, dot, _ = entry.name.partition(".")
            if dot:
                yield f"{name}.{stem}"
            elif os.path.exists(f"{entry.path}/__init__.py"):  # noqa: PTH110 - pathlib costs too
                yield from _modules(f"{name}.{stem}", [entry.path])

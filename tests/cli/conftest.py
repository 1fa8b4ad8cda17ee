"""Handlers and secrets files to run the commands on."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


APP = '''
import functools
import logging
import os
import time
from decimal import Decimal

from lambda_secrets import Secret, inject_secrets
from lambda_secrets.backends import AutoBackend, AwsBackend, SdkBackend

DECLARED = {
    "db": "prod/db#@",
    "key": "prod/key",
    "url": "ssm:/prod/url",
    "tree": "ssm:/prod/app/",
    "flags": "appconfig:shop/prod/flags",
    "absent": Secret("prod/absent", default=None),
}


def logged(function):
    """Another's decorator."""

    @functools.wraps(function)
    def wrapper(event, context):
        print("a line for the log")
        return function(event, context)

    return wrapper


@logged
@inject_secrets(DECLARED, ttl=0)
def lambda_handler(event, context):
    secrets = context.secrets
    return {
        "event": event,
        "user": secrets.db["user"],
        "key": list(secrets.key),
        "url": secrets.url[-1],
        "tree": {name: value[-1] for name, value in secrets.tree.items()},
        "flags": secrets.flags[-1],
        "absent": secrets.absent,
    }


@inject_secrets({"db": "prod/db#@", "missing": "prod/missing", "nokey": "prod/db#nokey"})
def failing(event, context):
    """Never called."""


@inject_secrets({"url": "ssm:/prod/url"}, ttl=100)
async def asynchronous(event, context):
    return context.secrets.url[-1]


@inject_secrets({"url": "ssm:/prod/url"}, ttl=float("inf"))
def forever(event, context):
    return context.secrets.url


@inject_secrets({"url": "ssm:/prod/url"}, timeout=0.05)
def impatient(event, context):
    """Never called."""


@inject_secrets({"url": "ssm:/prod/url"}, ttl=100)
def refreshed(event, context):
    refreshed.secrets.refresh()
    return context.secrets.url[-1]


def undecorated(event, context):
    context.log("to the log\\n")
    return [context.function_name, context.get_remaining_time_in_millis() > 1000]


def raising(event, context):
    raise ValueError("a reason")


def exiting(event, context):
    raise SystemExit(3)


def slow(event, context):
    time.sleep(5)


def odd(event, context):
    return object()


def numbers(event, context):
    return [Decimal("1.50"), Decimal("2"), Decimal("Infinity") > 0, "\\ud800", "é"]


def with_bytes(event, context):
    return {"body": "é".encode()}


def binary(event, context):
    return b"bytes"


def variables(event, context):
    return sorted(name for name in os.environ if "EXTENSION_HTTP_PORT" in name or "TOKEN" in name)


@inject_secrets({"db": "prod/db"}, backend=SdkBackend(batch=True))
def batched(event, context):
    """Never called."""


class Own:
    _behind = None

    def fetch(self, sources, *, timeout, fresh):
        """Never called."""


@inject_secrets({"db": "prod/db"}, backend=Own())
def through_ones_own(event, context):
    """Never called."""


@inject_secrets({"db": "prod/db"}, backend=AutoBackend(aws=AwsBackend(batch=True)))
def batched_without_layer(event, context):
    """Never called."""


@inject_secrets({"url": "ssm:/prod/url"})
def streaming(event, context):
    yield "1"
    yield "2"


async def async_streaming(event, context):
    yield "1"
    yield "2"


def bytes_streaming(event, context):
    yield b"a"
    yield b"b"


def named(event, context):
    return [context.aws_request_id, context.function_name]


class Callable:
    @inject_secrets({"url": "ssm:/prod/url"})
    def __call__(self, event, context):
        return context.secrets.url[-1]


instance = Callable()
bound = Callable().__call__


def closing(function):
    """Another's decorator, without functools.wraps."""
    return lambda event, context: function(event, context)


class Holding:
    """Another's decorator, as an object."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, event, context):
        return self._function(event, context)


@Holding
@closing
@inject_secrets({"url": "ssm:/prod/url"})
def under_others(event, context):
    """Never called."""


class Api:
    @inject_secrets({"url": "ssm:/prod/url"})
    def handle(self, event, context):
        """Never called."""


number = 1
'''

LOUD = """
import os
import subprocess
import sys

print("imported")


def handler(event, context):
    print("printed")
    subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    os.write(1, b"by number\\n")
    return 1
"""

LATE = """
import atexit
import os
import sys
import threading

atexit.register(print, "at exit")


def after_main():
    threading.main_thread().join()
    print("by a thread")
    os.write(1, b"by number\\n")
    sys.__stdout__.write("by another name")


def handler(event, context):
    threading.Thread(target=after_main).start()
    return 1
"""

SECRETS = """
[secrets]
"prod/db" = { user = "CANARY-user", password = "CANARY-password" }
"prod/a=b@c" = "CANARY-odd"

[binary]
"prod/key" = "AAEC"

[parameters]
"/prod/url" = "CANARY-url-1"
"/prod/app/host" = "CANARY-host-1"
"/prod/app/list" = ["CANARY-a", "CANARY-b"]

[appconfig]
"shop/prod/flags" = "CANARY-flags-1"
"""


@pytest.fixture(autouse=True)
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the modules that each test imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file: Any = getattr(sys.modules[name], "__file__", None)
        if "pytest-" in str(file):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, which has app.py and secrets.toml."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "loud.py").write_text(LOUD, encoding="utf-8")
    (tmp_path / "late.py").write_text(LATE, encoding="utf-8")
    (tmp_path / "secrets.toml").write_text(SECRETS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Outcome(NamedTuple):
    """A command's output and exit code."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything that it printed."""
        return self.stdout + self.stderr


Run: TypeAlias = "Callable[..., Outcome]"


@pytest.fixture
def run(folder: Path) -> Run:
    """Return a function that runs `lambda-secrets` in that folder, as a process."""

    def run(
        *arguments: str, env: Mapping[str, str | None] | None = None, stdin: str = ""
    ) -> Outcome:
        variables = {"COLUMNS": "100", **os.environ, **(env or {})}
        done = subprocess.run(
            [sys.executable, "-m", "lambda_secrets", *arguments],
            cwd=folder,
            env={name: value for name, value in variables.items() if value is not None},
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run

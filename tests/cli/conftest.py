"""Handlers and secrets files to run the commands on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from lambda_secrets.cli.program import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Result]

APP = '''
import functools
import logging
import os
import time
from decimal import Decimal

from lambda_secrets import Secret, inject_secrets
from lambda_secrets.backends import SdkBackend

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


def binary(event, context):
    return b"bytes"


def variables(event, context):
    return sorted(name for name in os.environ if "EXTENSION_HTTP_PORT" in name or "TOKEN" in name)


@inject_secrets({"db": "prod/db"}, backend=SdkBackend(batch=True))
def batched(event, context):
    """Never called."""


class Api:
    @inject_secrets({"url": "ssm:/prod/url"})
    def handle(self, event, context):
        """Never called."""


number = 1
'''

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
    """Forget after each test what its handlers were imported as."""
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
    (tmp_path / "secrets.toml").write_text(SECRETS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Return a function that runs `lambda-secrets` there with these arguments, and its output."""
    del folder

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(cli, list(arguments), prog_name="lambda-secrets", **options)

    return run

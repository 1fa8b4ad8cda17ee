"""The guides do what they say: their tests pass, and before and after behave the same."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities import parameters
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lambda_secrets import (
    LiveSecrets,
    MemoryBackend,
    Secret,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.testing import LambdaContext, override_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.moto_server import MotoServer

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    found = BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))
    return [code for fence, code in found if fence == language]


def ran(command: list[str], folder: Path) -> str:
    """Run a command in a folder, check that it succeeds, and return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# A minimal plugin for async tests.
ASYNC_PLUGIN = """
import asyncio
import inspect

def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        asyncio.run(pyfuncitem.obj())
        return True
"""


def test_tests_of_the_testing_guide_pass(tmp_path: Path) -> None:
    """The page's code is a test module, and all of its tests pass."""
    (tmp_path / "conftest.py").write_text(ASYNC_PLUGIN)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks("testing.md", "python")))
    options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
    assert "14 passed" in ran([sys.executable, "-m", "pytest", *options], tmp_path)


def test_command_of_the_testing_guide_runs(tmp_path: Path) -> None:
    """The handler of the page answers through the local extension with the values of the page."""
    (tmp_path / "app.py").write_text(blocks("testing.md", "python")[0])
    (tmp_path / "secrets.toml").write_text(blocks("testing.md", "toml")[0])
    (command,) = blocks("testing.md", "shell")
    program, *arguments = shlex.split(command)
    out = ran([f"{sysconfig.get_path('scripts')}/{program}", *arguments], tmp_path)
    assert json.loads(out) == ["app at work", "u"]


def test_start_page_does_what_it_says(tmp_path: Path) -> None:
    """The start page's handler, test and commands work as the page shows them."""
    [handler], [values], [test] = (blocks("start.md", name) for name in ("python", "toml", "py"))
    (tmp_path / "app.py").write_text(handler)
    (tmp_path / "secrets.toml").write_text(values)
    (tmp_path / "test_app.py").write_text(test)
    scripts = sysconfig.get_path("scripts")
    for session in blocks("start.md", "console"):
        command, *shown = session.removeprefix("$ ").splitlines()
        program, *arguments = shlex.split(command)
        printed = ran([f"{scripts}/{program}", *arguments], tmp_path).splitlines()
        notes = [line for line in shown if line.startswith(("Note: ", "Secrets: "))]
        assert printed == [line for line in shown if line not in notes]
        assert len(notes) == 1
    options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
    assert "1 passed" in ran([sys.executable, "-m", "pytest", *options], tmp_path)
    (tmp_path / "secrets.toml").write_text(values.replace("prod/db", "prod/bd"))
    mistaken = ["invoke", "app.lambda_handler", "--secrets", "secrets.toml"]
    wrong = subprocess.run(
        [f"{scripts}/lambda-secrets", *mistaken],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 1
    assert "Cannot resolve 'db' (prod/db#@)" in wrong.stderr


@pytest.fixture
def aws(moto_server: MotoServer) -> Iterator[Emulator]:
    """Serve the values of the migration pages through the AWS API and through the extension."""
    secrets: dict[str, str | bytes] = {
        "prod/db": json.dumps({"user": "app", "password": "made up"}),
        "prod/key": "made up too",
        "prod/other": "also made up",
        "prod/signing-key": b"\x00\x01\xff",
    }
    texts = {"/prod/url": "https://a", "/prod/app/one": "1", "/prod/app/two/three": "3"}
    for name, value in secrets.items():
        moto_server.put_secret(name, value)
    for name, text in texts.items():
        moto_server.put_parameter(name, text)
    local: dict[str, dict[str, Any]] = {
        "secrets": {"prod/db": secrets["prod/db"]},
        "binary": {"prod/signing-key": "AAH/"},
        "parameters": {"/prod/url": "https://a"},
    }
    with Emulator(local) as emulator:
        yield emulator


def sections(page: str) -> list[Any]:
    """Return the code blocks of each section, for the sections of a page that have any."""
    parts = re.split(r"^## ", (ROOT / "docs" / page).read_text("utf-8"), flags=re.MULTILINE)
    return [
        pytest.param(page, codes, id=f"{page}: {part.splitlines()[0]}")
        for part in parts
        if (codes := [code for _, code in BLOCK.findall(part)])
    ]


@pytest.mark.parametrize(
    ("page", "codes"),
    [
        *sections("migrating-from-requests.md"),
        *sections("migrating-from-powertools.md"),
        *sections("migrating-from-caching-client.md"),
    ],
)
def test_before_and_after_answer_alike(
    page: str,
    codes: list[str],
    aws: Emulator,
    moto_server: MotoServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All handlers of a section return the same, cold and warm."""
    if "requests" in page:
        for name, value in aws.environment.items():
            monkeypatch.setenv(name, value)
    before, *after = [answers(code, moto_server) for code in codes]
    assert before[0]
    assert after
    assert all(answer == before[0] for given in (before, *after) for answer in given)


def answers(code: str, moto_server: MotoServer) -> list[Any]:
    """Return a handler's answers, cold and warm, after rotating `prod/rotated` if it is used."""
    parameters.clear_caches()  # type: ignore[no-untyped-call]  # Powertools
    clear_cache()
    if "prod/rotated" in code:
        moto_server.put_secret("prod/rotated", json.dumps({"user": "app", "password": "first"}))
        parameters.get_secret("prod/rotated", transform="json")
        resolve_secrets({"rotated": "prod/rotated"})
        moto_server.put_secret("prod/rotated", json.dumps({"user": "app", "password": "second"}))
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    return [names["lambda_handler"]({}, SimpleNamespace()) for _ in ("cold", "warm")]


def test_wrong_order_on_a_route_is_as_unsafe_as_the_pages_say() -> None:
    """FastAPI and Powertools let a client set the secret if our decorator is above the route's."""
    api, resolver = FastAPI(), APIGatewayHttpResolver(enable_validation=True)

    @inject_secrets
    @resolver.get("/hook")
    @api.get("/hook")
    def hook(*, key: Annotated[str, Secret("prod/key")] = "default") -> str:
        return key

    event = {
        "version": "2.0",
        "rawPath": "/hook",
        "headers": {},
        "queryStringParameters": {"key": "chosen"},
        "requestContext": {"stage": "$default", "http": {"method": "GET", "path": "/hook"}},
    }
    context: Any = LambdaContext()
    with override_secrets({"prod/key": "made up"}), TestClient(api) as client:
        assert client.get("/hook", params={"key": "chosen"}).json() == "chosen"
        assert resolver.resolve(event, context)["body"] == "chosen"
        assert hook() == "made up"


@pytest.mark.parametrize("copied", [True, False])
def test_thread_of_a_retry_needs_a_copy_of_its_context(*, copied: bool) -> None:
    """As rotation.md says, only a thread with a copy of the context sees a pending value."""
    pending = Secret("prod/db", version_stage="AWSPENDING")
    vault: dict[str | Secret, dict[str, str]] = {"prod/db": {"password": "old"}}
    live = LiveSecrets({"db": "prod/db#@"}, backend=MemoryBackend(vault))
    vault[pending] = {"password": "new"}

    def read() -> Any:
        if (password := live.db["password"]) != "new":
            raise PermissionError
        return password

    @live.retry_on(PermissionError)
    def logged_in() -> str:
        run: Any = copy_context().run if copied else lambda call: call()
        with ThreadPoolExecutor(1) as pool:
            return str(pool.submit(run, read).result())

    if copied:
        assert logged_in() == "new"
    else:
        with pytest.raises(PermissionError):
            logged_in()


def test_typed_example_runs() -> None:
    """The example answers through the local extension, and shows no value."""
    program = f"{sysconfig.get_path('scripts')}/lambda-secrets"
    folder = "examples/typed"
    out = ran(
        [
            program,
            "invoke",
            f"{folder}/app.py:lambda_handler",
            "--secrets",
            f"{folder}/secrets.toml",
        ],
        ROOT,
    )
    assert json.loads(out) == {
        "database": "db.internal.example:5433",
        "replicas": 2,
        "api_key": "26 characters",
        "mode": "live",
    }

"""The command line and the emulator: their output, logs, objects and comparison of tokens."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.emulator.cache import ReadThroughCache
from lambda_secrets.cli.emulator.dialects import Reply, Upstream
from lambda_secrets.cli.emulator.local import LocalValues
from lambda_secrets.cli.emulator.settings import Settings
from lambda_secrets.cli.invoke import Rotation
from tests.support import canary
from tests.support.canary import BINARY, DOCUMENT, NUMBER, TEXT, TOKEN, leaks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES: dict[str, dict[str, Any]] = {
    "secrets": {"prod/text": TEXT, "prod/db": DOCUMENT, "prod/broken": f'{{"a": "{TEXT}'},
    "binary": {"prod/binary": base64.b64encode(BINARY).decode()},
    "secure_strings": {"/prod/secure": TEXT},
    "parameters": {"/prod/url": TEXT, "/prod/app/list": [TEXT, str(NUMBER)]},
    "appconfig": {"shop/prod/flags": DOCUMENT},
}
APP = """
import logging
from typing import Annotated

from lambda_secrets import Secret, inject_secrets

DECLARED = {
    "text": "prod/text",
    "db": "prod/db#@",
    "binary": "prod/binary",
    "url": "ssm:/prod/url",
    "tree": "ssm:/prod/app/",
    "flags": "appconfig:shop/prod/flags",
    "absent": Secret("prod/absent", default="d"),
}

@inject_secrets(DECLARED, into="kwargs", ttl=0)
def fine(event, context, **values):
    logging.getLogger("app").warning("handled %d", len(values))
    return sorted(values)

@inject_secrets({**DECLARED, "bad": "prod/broken#a", "type": "prod/db#abs(key)", "no": "prod/no"})
def failing(event, context):
    \"\"\"Never called.\"\"\"

@inject_secrets
def typed(event, context, *, db: Annotated[list[int], Secret("prod/db")]):
    \"\"\"Never called.\"\"\"

@inject_secrets(DECLARED)
def raising(event, context):
    assert context.secrets.text
    raise ValueError("the handler failed")

@inject_secrets(DECLARED, ttl=0)
def slow(event, context):
    import time
    time.sleep(9)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with a handler and a file of canaries."""
    (tmp_path / "canary_app.py").write_text(APP)
    (tmp_path / "secrets.json").write_text(json.dumps(TABLES))
    (tmp_path / "broken.toml").write_text(f'[secrets]\n"prod/text" = "{TEXT}\n')
    (tmp_path / "wrong.json").write_text(json.dumps({"secrets": {"a": NUMBER}, "b": TEXT}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


INVOKE = ["invoke", "canary_app.py:fine", "--secrets", "secrets.json"]
COMMANDS: list[tuple[int, list[str]]] = [
    (0, ["check", "canary_app.py:fine", "--secrets", "secrets.json"]),
    (0, ["check", "canary_app.py:fine", "--secrets", "secrets.json", "--json"]),
    (1, ["check", "canary_app.py:failing", "--secrets", "secrets.json"]),
    (1, ["check", "canary_app.py:typed", "--secrets", "secrets.json", "--json", "--debug"]),
    (1, ["check", "canary_app.py:fine", "--secrets", "broken.toml", "--debug"]),
    (1, ["check", "canary_app.py:fine", "--secrets", "wrong.json", "--debug"]),
    (1, ["check", "canary_app.py:fine", "--backend", "extension"]),
    (0, INVOKE),
    (0, [*INVOKE, "--repeat", "3"]),
    (0, [*INVOKE, "--repeat", "2", "--rotate", f"prod/text={TEXT}5@2", "--debug"]),
    (0, [*INVOKE, "--repeat", "2", "--rotate", f"ssm:/prod/url={TEXT}6@2"]),
    (2, [*INVOKE, "--repeat", "2", "--rotate", f"prod/nothing={TEXT}@2", "--debug"]),
    (2, [*INVOKE, "--rotate", f"={TEXT}"]),
    (2, [*INVOKE, "--rotate", f"prod/binary={TEXT}@1", "--debug"]),
    (1, ["invoke", "canary_app.py:failing", "--secrets", "secrets.json", "--debug"]),
    (1, ["invoke", "canary_app.py:typed", "--secrets", "secrets.json", "--debug"]),
    (1, ["invoke", "canary_app.py:raising", "--secrets", "secrets.json", "--debug"]),
    (1, ["invoke", "canary_app.py:slow", "--secrets", "secrets.json", "--timeout", "0.5"]),
    (2, ["invoke", "canary_app.py:fine", "--secrets", "broken.toml", "--debug"]),
    (2, ["invoke", "canary_app.py:fine", "--secrets", "wrong.json", "--debug"]),
    (0, ["policy", "canary_app.py:fine", "--account", "123456789012", "--region", "eu-west-1"]),
    (2, ["serve", "--secrets", "broken.toml", "--debug"]),
    (2, ["serve", "--secrets", "wrong.json"]),
]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("code", "arguments"), COMMANDS, ids=lambda part: None)
def test_commands_print_no_value(code: int, arguments: list[str]) -> None:
    """Commands that succeed or fail, with any option, print neither a value nor the token."""
    command = [sys.executable, "-m", "lambda_secrets", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    printed = done.stdout + done.stderr
    assert not canary.is_in(printed), printed
    assert done.returncode == code, printed
    assert printed


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("options", [[], ["--agent"]])
def test_stand_in_prints_no_value(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At DEBUG, the emulator prints neither values nor the token, whatever the request."""
    monkeypatch.setenv("PARAMETERS_SECRETS_EXTENSION_LOG_LEVEL", "DEBUG")
    command = [sys.executable, "-m", "lambda_secrets", "serve", "--secrets", "secrets.json"]
    with subprocess.Popen(
        [*command, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(" ")[2])
        for token in (TOKEN, "wrong", TOKEN[:-1]):
            for target in (
                *("prod/text", "prod/db", "prod/binary", "prod/absent"),
                f"prod/text&unknown={TEXT}",
            ):
                asked(port, f"/secretsmanager/get?secretId={target}", token)
            asked(port, "/systemsmanager/parameters/get?name=/prod/url", token)
            asked(port, "/systemsmanager/parameters/get?name=/prod/secure", token)
            asked(port, "/nowhere", token)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=10)
    assert errors.count("\n") > 15
    assert not canary.is_in(out)
    assert not canary.is_in(errors)


def asked(port: int, target: str, token: str) -> tuple[int, bytes]:
    """Ask the emulator, and return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", target, headers={"X-Aws-Parameters-Secrets-Token": token})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(("agent", "refused"), [(False, 401), (True, 403)])
def test_tokens_are_compared_in_constant_time(
    agent: bool, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hmac.compare_digest` alone decides, over the whole token."""
    compared: list[tuple[Any, Any]] = []
    decision: Callable[[Any, Any], bool] = hmac.compare_digest

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return decision(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    target = "/secretsmanager/get?secretId=prod/text"
    with Emulator(TABLES, token=TOKEN, agent=agent) as emulator:
        assert asked(emulator.port, target, TOKEN)[0] == 200
        assert asked(emulator.port, target, TOKEN[:-1])[0] == refused
        assert (TOKEN[:-1].encode(), TOKEN.encode()) in compared
        decision = lambda _one, _other: True  # noqa: E731
        assert asked(emulator.port, target, "wrong")[0] == 200
        decision = lambda _one, _other: False  # noqa: E731
        assert asked(emulator.port, target, TOKEN)[0] == refused


def test_objects_of_the_tools_show_and_pickle_nothing() -> None:
    """Values, records, replies, rotations and the emulator itself have safe `repr`s.

    Their attributes are not walked: they live in a developer's process or in tests, next to the
    file or mapping with the same values, where no error tracker collects data.
    """
    values = LocalValues(TABLES)
    upstream = Upstream(values, Settings())
    things = [
        values,
        upstream,
        ReadThroughCache(5),
        values.secret("prod/text", None, None),
        values.secret("prod/binary", None, None),
        values.parameter("/prod/url", decrypt=True),
        values.configuration("shop", "prod", "flags"),
        *next(iter(values._histories.values())),
        Reply(200, BINARY),
        Rotation("prod/text", TEXT, 2),
        Emulator(values, token=TOKEN),
    ]
    assert [leak for leak in leaks(*things) if not leak.startswith("walk ")] == []

"""`lambda-secrets check`."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets.cli import check as check_module
from lambda_secrets.cli.emulator import StandIn

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.support.moto_server import MotoServer

FILE = ("--secrets", "secrets.toml")


def test_every_declaration_has_a_line(run: Run) -> None:
    """Name, source, backend, type and age of each; never a value."""
    result = run("check", "app.lambda_handler", *FILE)
    assert result.exit_code == 0
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["db", "prod/db#@", "file", "", "dict", "0 s", "OK"],
        ["key", "prod/key", "file", "", "bytes", "0 s", "OK"],
        ["url", "ssm:/prod/url", "file", "", "str", "0 s", "OK"],
        ["tree", "ssm:/prod/app/", "file", "", "dict", "0 s", "OK"],
        ["flags", "appconfig:shop/prod/flags", "file", "", "str", "0 s", "OK"],
        ["absent", "prod/absent", "file", "", "NoneType", "0 s", "OK, by its default"],
    ]
    assert "CANARY" not in result.output


def test_one_failure_fails_the_check(run: Run) -> None:
    """Each failure says why, the others are resolved all the same, the exit code is 1."""
    result = run("check", "app.failing", *FILE, "--json")
    assert result.exit_code == 1
    db, missing, nokey = json.loads(result.stdout)
    assert db == {
        "name": "db",
        "source": "prod/db#@",
        "backend": "file",
        "version": None,
        "type": "dict",
        "max_age": 300.0,
        "default": False,
        "ok": True,
        "error": None,
    }
    assert (missing["ok"], missing["type"]) == (False, None)
    assert missing["error"].startswith("SecretNotFoundError: Cannot resolve 'missing'")
    assert nokey["error"].startswith("SecretValueError: Cannot resolve 'nokey'")
    assert "CANARY" not in result.output
    assert "CANARY" not in run("check", "app.failing", *FILE).output


def test_a_value_that_never_expires(run: Run) -> None:
    """An infinite age is null in JSON, which knows no infinity, and unlimited in the table."""
    assert json.loads(run("check", "app.forever", *FILE, "--json").stdout)[0]["max_age"] is None
    assert "unlimited" in run("check", "app.forever", *FILE).stdout


def test_the_backend_can_be_chosen(run: Run, moto_server: MotoServer) -> None:
    """`--backend sdk` asks AWS whatever the handler asks; versions are shown."""
    moto_server.put_parameter("/prod/url", "CANARY-url")
    result = run("check", "app.asynchronous", "--backend", "sdk", "--json")
    (found,) = json.loads(result.stdout)
    assert (found["backend"], found["version"], found["max_age"]) == ("sdk", "1", 100.0)


def test_the_extensions_cache_adds_to_the_age(run: Run) -> None:
    """Through the extension a value can be its TTL and the extension's old."""
    tables: dict[str, dict[str, Any]] = {"parameters": {"/prod/url": "CANARY-url"}}
    with StandIn(tables) as standin:
        command = ("check", "app.asynchronous", "--backend", "extension")
        result = run(*command, "--json", env=standin.environment)
        (found,) = json.loads(result.stdout)
        assert (found["backend"], found["max_age"]) == ("extension", 400.0)
        standin.remove("ssm:/prod/url")
        standin.forget()
        assert run(*command, env=standin.environment).exit_code == 1


def test_an_extension_that_is_not_there(run: Run) -> None:
    """What does not answer is a failed check, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    env = {
        "LAMBDA_SECRETS_BACKEND": "extension",
        "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": port,
    }
    result = run("check", "app.impatient", "--json", env=env)
    (found,) = json.loads(result.stdout)
    assert (result.exit_code, found["backend"]) == (1, "extension")
    assert found["error"].startswith("BackendUnavailableError: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["app.failing", *FILE, "--backend", "sdk"], "Give --backend or --secrets, not both."),
        (["app.failing", "--secrets", "nope.toml"], "'nope.toml' does not exist."),
        (["app.undecorated"], "it declares no secrets. Decorate it with @inject_secrets"),
        (["app.failing", "--backend", "file"], "LAMBDA_SECRETS_FILE is not set."),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], message: str) -> None:
    """One line says what to do."""
    result = run("check", *arguments)
    assert result.exit_code == (1 if "file" in arguments else 2)
    assert message in result.stderr


def test_a_terminal_has_a_width(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the table is as wide as that; in a log nothing is cut off."""
    wide = run("check", "app.failing", *FILE).stdout
    monkeypatch.setattr(check_module, "_is_terminal", lambda: True)
    narrow = run("check", "app.failing", *FILE, env={"COLUMNS": "60"}).stdout
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines()))

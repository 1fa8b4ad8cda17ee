"""`lambda-secrets check`."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets.cli.emulator import Emulator
from tests.cli.conftest import SECRETS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.support.moto_server import MotoServer

FILE = ("--secrets", "secrets.toml")


def test_every_declaration_has_a_line(run: Run) -> None:
    """The table shows each declaration's name, source, backend, type and age, never a value."""
    result = run("check", "app.lambda_handler", *FILE)
    assert result.exit_code == 0
    rows = [re.split(r"  +", line.strip()) for line in result.stdout.splitlines()]
    assert rows == [
        ["name", "source", "from", "type", "max. age", "result"],
        ["db", "prod/db#@", "file", "dict", "0 s", "OK"],
        ["key", "prod/key", "file", "bytes", "0 s", "OK"],
        ["url", "ssm:/prod/url", "file", "str", "0 s", "OK"],
        ["tree", "ssm:/prod/app/", "file", "dict", "0 s", "OK"],
        ["flags", "appconfig:shop/prod/flags", "file", "str", "0 s", "OK"],
        ["absent", "prod/absent", "file", "NoneType", "0 s", "OK (default used)"],
    ]
    assert "CANARY" not in result.output


def test_a_pipe_is_read_once(run: Run) -> None:
    """Several handlers are checked against a file that comes through a pipe."""
    targets = ("app.lambda_handler", "app.forever", "app.asynchronous")
    result = run("check", *targets, "--secrets", "/dev/stdin", stdin=SECRETS)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.count(" OK") == 8


def test_a_name_in_the_file_is_found_by_its_arn(run: Run, folder: Path) -> None:
    """As `invoke` and `serve` do, `check` finds by ARN what the file lists by name."""
    (folder / "by_arn.py").write_text(
        "from lambda_secrets import LiveSecrets\n"
        "secret = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db'\n"
        "url = 'arn:aws:ssm:eu-west-1:123456789012:parameter/prod/url'\n"
        "live = LiveSecrets({'a': secret, 'b': secret + '-AbCdEf#user', 'url': url})\n"
    )
    result = run("check", "by_arn", *FILE)
    assert result.exit_code == 0, result.stdout


def test_what_an_import_reads_comes_from_the_file_too(run: Run, folder: Path) -> None:
    """A module that reads a secret or prefetches when it is imported reads from the file."""
    (folder / "early.py").write_text(
        "from lambda_secrets import inject_secrets, resolve_secrets\n"
        "url = resolve_secrets({'url': 'ssm:/prod/url'}).url\n"
        "handler = inject_secrets({'key': 'prod/key'}, prefetch=True)(lambda event, context: 1)\n"
    )
    result = run("check", "early.handler", *FILE)
    assert (result.exit_code, "Prefetch failed" in result.stderr) == (0, False), result.stderr


def test_a_broken_file_is_one_line(run: Run, folder: Path) -> None:
    """A file that cannot be read is one error, not one for each declaration."""
    (folder / "broken.toml").write_text("[secrets\n")
    result = run("check", "app.lambda_handler", "--secrets", "broken.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: Cannot read 'broken.toml': it is not TOML at line 1")


def test_what_a_module_prints_is_not_part_of_the_output(run: Run, folder: Path) -> None:
    """What is printed at import, or by a transform, goes to stderr: scripts read stdout."""
    (folder / "noisy.py").write_text(
        "from lambda_secrets import Parameter, inject_secrets\n"
        "print('imported')\n"
        "def url(text):\n"
        "    print('transformed')\n"
        "handler = inject_secrets({'url': Parameter('/prod/url', transform=url)})(print)\n"
    )
    checked = run("check", "noisy.handler", *FILE, "--json")
    assert [finding["name"] for finding in json.loads(checked.stdout)] == ["url"]
    assert "imported\ntransformed\n" in checked.stderr
    where = ("--account", "123456789012", "--region", "eu-west-1")
    assert json.loads(run("policy", "noisy.handler", *where).stdout)["Statement"]


def test_one_failure_fails_the_check(run: Run) -> None:
    """Each failure says why, the other declarations are still resolved, and the exit code is 1."""
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
    """An infinite age is null in JSON, which has no infinity, and unlimited in the table."""
    assert json.loads(run("check", "app.forever", *FILE, "--json").stdout)[0]["max_age"] is None
    assert "unlimited" in run("check", "app.forever", *FILE).stdout


def test_the_backend_can_be_chosen(run: Run, moto_server: MotoServer) -> None:
    """`--backend sdk` reads from AWS, whichever backend the handler uses, and shows versions."""
    moto_server.put_parameter("/prod/url", "CANARY-url")
    result = run("check", "app.asynchronous", "--backend", "sdk", "--json")
    (found,) = json.loads(result.stdout)
    assert (found["backend"], found["version"], found["max_age"]) == ("sdk", "1", 100.0)


def test_the_extensions_cache_adds_to_the_age(run: Run) -> None:
    """Through the extension, a value can be as old as its own TTL plus the extension's."""
    tables: dict[str, dict[str, Any]] = {"parameters": {"/prod/url": "CANARY-url"}}
    with Emulator(tables) as emulator:
        command = ("check", "app.asynchronous", "--backend", "extension")
        result = run(*command, "--json", env=emulator.environment)
        (found,) = json.loads(result.stdout)
        assert (found["backend"], found["max_age"]) == ("extension", 400.0)
        wrong = {**emulator.environment, "AWS_SESSION_TOKEN": "wrong"}
        assert run(*command, env=wrong).exit_code == 1


def test_an_extension_that_is_not_there(run: Run) -> None:
    """An extension that does not answer fails the check with BackendUnavailableError."""
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
    """Wrong use exits with 2, an unset variable with 1; the message says what is wrong."""
    result = run("check", *arguments)
    assert result.exit_code == (1 if "file" in arguments else 2)
    assert message in result.stderr


@pytest.mark.parametrize("width", ["60", "120"])
def test_the_table_takes_the_width_that_it_needs(run: Run, width: str) -> None:
    """Outside a terminal no row is padded or cut off; failures are explained below the table."""
    result = run("check", "app.failing", *FILE, env={"COLUMNS": width})
    table, _, reasons = result.stdout.partition("\n\n")
    assert max(map(len, table.splitlines())) < 80
    assert "prod/missing" in table
    assert reasons.startswith("(1) missing: SecretNotFoundError: ")


def test_a_missing_region_is_said_once(run: Run) -> None:
    """Declarations that fail for the same reason share one line, which names them all."""
    env = {"AWS_DEFAULT_REGION": None, "AWS_REGION": None}
    result = run("check", "app.failing", "--backend", "sdk", env=env)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "region" in line]
    assert line.startswith("(1) db, missing, nokey: BackendError: ")


def test_several_targets_and_modules_are_checked(run: Run) -> None:
    """Handlers that declare the same secret share a line; a note says what is not listed."""
    result = run("check", "app.under_others", "app.instance", "app.forever", *FILE, "--json")
    ages = [(found["name"], found["max_age"]) for found in json.loads(result.stdout)]
    assert sorted(ages, key=str) == [("url", 300.0), ("url", None)]
    assert "secrets that only resolve_secrets() reads, at run time, are not listed" in result.stderr
    assert "Note: app declares more secrets: use app as the target to see all.\n" in result.stderr
    result = run("check", "app", *FILE)
    assert result.exit_code == 1
    assert {"db", "nokey", "tree"} <= {
        line.split()[0] for line in result.stdout.splitlines() if line
    }


def test_an_unset_variable_is_listed_as_unresolved(run: Run, folder: Path) -> None:
    """The reason names the unset variable; once it is set, the check passes."""
    (folder / "named.py").write_text(
        "from lambda_secrets import inject_secrets\n"
        "declared = {'a': 'env:DB_SECRET', 'url': 'ssm:/prod/url'}\n"
        "handler = inject_secrets(declared)(lambda event, context: 1)\n"
    )
    result = run("check", "named.handler", *FILE)
    assert result.exit_code == 1
    assert "unresolved (1)" in result.stdout
    assert "(1) a: DeclarationError: The environment variable DB_SECRET is unset" in result.stdout
    assert run("check", "named.handler", *FILE, env={"DB_SECRET": "prod/db"}).exit_code == 0


LIVE = """
from typing import Annotated

from lambda_secrets import LiveSecrets, Parameter, Secret, inject_secrets


class Config(LiveSecrets):
    user: Annotated[str, Secret("prod/db", "user")]
    url: Annotated[str, Parameter("/prod/url")] = "default"


def build(value):
    raise AssertionError


config = Config(ttl=60)
live = LiveSecrets({"key": "prod/key", "pool": Secret("prod/db", "@", build=build)})


@inject_secrets({"flags": "appconfig:shop/prod/flags"}, into="event")
@inject_secrets(live)
def lambda_handler(event, context):
    return [context.secrets.key, config.url]


def retried(event, context):
    return config.url
"""


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("live.config", {"user", "url"}),
        ("live.live", {"key", "pool"}),
        ("live.lambda_handler", {"key", "pool", "flags"}),
        ("live", {"key", "pool", "flags", "user", "url"}),
    ],
)
def test_live_secrets_are_targets(run: Run, folder: Path, target: str, names: set[str]) -> None:
    """A `LiveSecrets`, a handler that uses one and their module are checked; nothing is built."""
    (folder / "live.py").write_text(LIVE)
    result = run("check", target, *FILE, "--json")
    assert result.exit_code == 0, result.stdout
    assert {found["name"] for found in json.loads(result.stdout)} == names

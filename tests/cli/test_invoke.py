"""`lambda-secrets invoke`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.function import Function, TimedOut, deadline
from tests.cli.conftest import SECRETS
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

FILE = ("--secrets", "secrets.toml")
SUMMARY = re.compile(r"Secrets: (?P<origins>.*)\. Took \d+\.\d\d ms\.")


def _origins(stderr: str) -> str:
    (found,) = filter(None, map(SUMMARY.fullmatch, stderr.splitlines()))
    return found["origins"]


def test_every_kind_of_secret_reaches_the_handler(run: Run) -> None:
    """Only the result is on stdout; the log and the origins of the secrets are on stderr."""
    done = run("invoke", "app.lambda_handler", *FILE, "--event=[1]")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {
        "event": [1],
        "user": "CANARY-user",
        "key": [0, 1, 2],
        "url": "1",
        "tree": {"host": "1", "list": "CANARY-b"},
        "flags": "1",
        "absent": None,
    }
    origins = "4 from the local extension, 1 from secrets.toml, 1 not found"
    assert _origins(done.stderr) == origins
    assert done.stderr.count("a line for the log") == 1
    assert "CANARY" not in done.stderr


def test_an_async_handler_is_awaited(run: Run) -> None:
    """An async handler is awaited in every invocation."""
    result = run("invoke", "app.asynchronous", *FILE, "--repeat", "2")
    assert (result.exit_code, result.stdout) == (0, '"1"\n"1"\n')


def test_a_rotation_is_seen_before_its_invocation(run: Run) -> None:
    """With a TTL of 0, each kind of value changes at the invocation that `--rotate` names."""
    changes = ("ssm:/prod/url=x2@2", "ssm:/prod/app/host=x3@3", "appconfig:shop/prod/flags=x2@2")
    lists = ("ssm:/prod/app/list=a,x3@3", "prod/key=/w==@2")
    rotations = [part for change in changes + lists for part in ("--rotate", change)]
    result = run("invoke", "app.lambda_handler", *FILE, *rotations, "--repeat", "3")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["url"] for answer in answers] == ["1", "2", "2"]
    assert [answer["flags"] for answer in answers] == ["1", "2", "2"]
    assert [answer["key"] for answer in answers] == [[0, 1, 2], [255], [255]]
    assert [answer["tree"]["host"] for answer in answers] == ["1", "1", "3"]
    assert [answer["tree"]["list"] for answer in answers] == ["CANARY-b", "CANARY-b", "x3"]
    assert "first" in result.stderr
    assert "median" in result.stderr
    assert "worst" in result.stderr
    assert "s old here" not in result.stderr


def test_a_handlers_own_cache_may_hold_a_rotation_back(run: Run) -> None:
    """With a TTL above 0, a line says how old a value can be and how to see the change sooner."""
    rotate = ("--rotate", "ssm:/prod/url=x2@2", "--repeat", "2")
    result = run("invoke", "app.asynchronous", *FILE, *rotate)
    assert result.stdout == '"1"\n"1"\n'
    advice = (
        "A smaller ttl of the handler (LAMBDA_SECRETS_TTL=0 if it has none), or refresh_on, shows "
        "a change sooner."
    )
    assert f"A value can be up to 100 s old here. {advice}\n" in result.stderr
    result = run("invoke", "app.asynchronous", *FILE, *rotate, env={"SECRETS_MANAGER_TTL": "0"})
    assert "A value can be up to 400 s old here" in result.stderr


def test_a_forced_read_gets_past_the_local_extensions_cache(run: Run) -> None:
    """`refresh()` sees the rotation even if the stand-in caches, as it would through the SDK."""
    rotate = ("--rotate", "ssm:/prod/url=x2@2", "--repeat", "2")
    env = {"SSM_PARAMETER_STORE_TTL": "300"}
    result = run("invoke", "app.refreshed", *FILE, *rotate, env=env)
    assert result.stdout == '"1"\n"1"\n'
    result = run("invoke", "app.refreshed", *FILE, *rotate, "--repeat", "3", env=env)
    assert result.stdout == '"1"\n"1"\n"2"\n'


def test_a_forced_read_finds_what_an_ordinary_one_does(run: Run, folder: Path) -> None:
    """A secret that is declared by its ARN, and in the file by its name, is read past the cache."""
    (folder / "by_arn.py").write_text(
        "from lambda_secrets import LiveSecrets\n"
        "arn = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf'\n"
        "live = LiveSecrets({'user': arn + '#user'})\n"
        "def handler(event, context):\n"
        "    live.refresh()\n"
        "    return live.user\n"
    )
    rotate = ("--rotate", 'prod/db={"user": "new"}@2', "--repeat", "2")
    result = run("invoke", "by_arn.handler", *FILE, *rotate)
    assert result.stdout == '"CANARY-user"\n"new"\n', result.stderr


def test_a_pipe_is_read_once(run: Run) -> None:
    """A file that a shell decrypts into a pipe serves trees and rotations too."""
    pipe = ("--secrets", "/dev/stdin", "--repeat", "2", "--rotate", "ssm:/prod/app/host=x2@2")
    result = run("invoke", "app.lambda_handler", *pipe, stdin=SECRETS)
    trees = [json.loads(line)["tree"] for line in result.stdout.splitlines()]
    assert trees == [{"host": "1", "list": "CANARY-b"}, {"host": "2", "list": "CANARY-b"}]


def test_a_look_for_a_pending_version_logs_no_error(run: Run, folder: Path) -> None:
    """A file has no pending versions, so a failing handler's search for one is not shown."""
    (folder / "failing.py").write_text(
        "from lambda_secrets import Secret, inject_secrets\n"
        "login = Secret('prod/db', pending=True)\n"
        "@inject_secrets({'login': login}, refresh_on=ValueError)\n"
        "def handler(event, context): raise ValueError\n"
    )
    result = run("invoke", "failing.handler", *FILE)
    assert json.loads(result.stdout)["errorType"] == "ValueError"
    assert "Local extension" not in result.stderr


def test_names_may_hold_the_signs_of_a_rotation(run: Run) -> None:
    """A name that contains `=` or `@` is recognized by the names in the file."""
    rotate = ("--rotate", "prod/a=b@c=new=@2@1")
    assert run("invoke", "app.undecorated", *FILE, *rotate).exit_code == 0


@pytest.mark.parametrize(
    "rotation", ["prod/nope=CANARY@2", "prod/db=CANARY", "prod/db=CANARY@x", "CANARY"]
)
def test_a_rotation_that_says_nothing_is_refused(run: Run, rotation: str) -> None:
    """The names that can be rotated are listed; the value is not repeated."""
    result = run("invoke", "app.undecorated", *FILE, "--rotate", rotation)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be NAME=VALUE@K" in result.stderr
    assert "prod/db" in result.stderr
    assert "CANARY" not in result.stderr


@pytest.mark.parametrize("number", ["0", "4"])
def test_a_rotation_belongs_to_an_invocation(run: Run, number: str) -> None:
    """A rotation before an invocation that never comes is wrong use; the value is not repeated."""
    rotate = ("--rotate", f"prod/db=CANARY@{number}", "--repeat", "3")
    result = run("invoke", "app.undecorated", *FILE, *rotate)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        f"Error: --rotate prod/db: there is no invocation {number}, since --repeat is 3. Change "
        "one of them: the first invocation is 1."
    ) in result.stderr
    assert "CANARY" not in result.stderr


def test_binary_secret_takes_base64_alone(run: Run) -> None:
    """A new value that is not base64 text is wrong use, and is not repeated."""
    rotate = ("--rotate", "prod/key=CANARY@2", "--repeat", "2")
    result = run("invoke", "app.undecorated", *FILE, *rotate)
    assert result.exit_code == 2
    assert "prod/key: the new value is not base64 text." in result.stderr
    assert "CANARY" not in result.output


def test_without_a_file_nothing_can_be_rotated(run: Run) -> None:
    """`--rotate` without `--secrets` is wrong use."""
    result = run("invoke", "app.undecorated", "--rotate", "a=b@2")
    assert (result.exit_code, "add --secrets FILE" in result.stderr) == (2, True)


@pytest.mark.parametrize("more", [[], ["--rotate", "a=b@2"]])
def test_a_broken_file_names_its_line(run: Run, folder: Path, more: list[str]) -> None:
    """A broken secrets file is wrong use; the error names file and line, and shows no value."""
    (folder / "broken.toml").write_text('[secrets]\na = "CANARY\n')
    result = run("invoke", "app.undecorated", "--secrets", "broken.toml", *more)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert "broken.toml" in result.stderr
    assert "line 2" in result.stderr
    assert "CANARY" not in result.stderr


@pytest.mark.parametrize("form", ["json", "file", "stdin", "pipe"])
def test_the_event_comes_from_anywhere(run: Run, folder: Path, form: str) -> None:
    """The event is JSON on the command line, in a file or pipe, or on stdin."""
    (folder / "event.json").write_text('{"n": "ä"}', "utf-8")
    forms = {"json": '{"n": "ä"}', "file": "event.json", "stdin": "-", "pipe": "/dev/stdin"}
    given = forms[form]
    result = run("invoke", "app.lambda_handler", *FILE, "--event", given, stdin='{"n": "ä"}')
    assert json.loads(result.stdout)["event"] == {"n": "ä"}


@pytest.mark.parametrize("event", ["event.json", "-"])
def test_an_event_may_begin_with_a_byte_order_mark(run: Run, folder: Path, event: str) -> None:
    """Editors on Windows begin a file with the mark; it is not part of the JSON."""
    text = '\ufeff{"n": 1}'
    (folder / "event.json").write_text(text, "utf-8")
    result = run("invoke", "app.lambda_handler", *FILE, "--event", event, stdin=text)
    assert json.loads(result.stdout)["event"] == {"n": 1}


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("{CANARY", "--event is not JSON (line 1, column 2: Expecting property name"),
        ("events/none.json", "--event: there is no file events/none.json, and it is not JSON."),
        ("secrets.toml", "--event: secrets.toml is not JSON (line 2, column 2: Expecting value)."),
        ("-", "--event: stdin is not JSON (line 2, column 1: Expecting property name"),
        # Linux: nothing is at address 0
        ("/proc/self/mem", "--event: /proc/self/mem is not readable (OSError)."),
        ("utf16", "--event: utf16 is not UTF-8. Save it as UTF-8."),
        (".", "--event: . is not readable (IsADirectoryError)."),
        ("{" + 5000 * " ", "--event is not JSON (line 1, column 5002: Expecting property name"),
        ("[" + 5000 * "1" + "]", "--event is not readable (ValueError)."),
    ],
)
def test_an_event_that_is_none(run: Run, folder: Path, event: str, why: str) -> None:
    """An event that is neither JSON nor a JSON file is wrong use; the message says why."""
    (folder / "utf16").write_text("{}", "utf-16")
    result = run("invoke", "app.undecorated", "--event", event, stdin="{\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert "CANARY" not in result.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "1e20", "nan", "soon"])
def test_a_timeout_that_is_none(run: Run, seconds: str) -> None:
    """A timeout that no timer can count is wrong use, not an error of the handler."""
    result = run("invoke", "app.undecorated", "--timeout", seconds)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: Invalid value for '--timeout': " in result.stderr


def test_without_a_file_the_environment_decides(run: Run, folder: Path) -> None:
    """The handler's own backend is used; no local extension is started."""
    env = {"LAMBDA_SECRETS_BACKEND": "file", "LAMBDA_SECRETS_FILE": str(folder / "secrets.toml")}
    result = run("invoke", "app.forever", env=env)
    assert result.stdout == '"CANARY-url-1"\n'
    assert _origins(result.stderr) == "1 from file"


def test_a_handler_without_secrets_runs_too(run: Run, folder: Path) -> None:
    """A handler without secrets runs, and its log is on stderr."""
    (folder / "plain.py").write_text(
        "def handler(event, context):\n"
        "    context.log('to the log\\n')\n"
        "    return context.get_remaining_time_in_millis() > 1000\n"
    )
    result = run("invoke", "plain.handler")
    assert (result.exit_code, result.stdout) == (0, "true\n")
    assert "to the log" in result.stderr
    assert _origins(result.stderr) == "none read"


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("numbers", '[1.5, 2, true, "\\ud800", "é"]\n'),
        ("binary", "bytes\n"),
        ("with_bytes", '{"body": "é"}\n'),
    ],
)
def test_answers_are_marshalled_as_lambda_does(run: Run, handler: str, answer: str) -> None:
    """Decimals become numbers, bytes are printed as they are, and bytes within a dict are text."""
    assert run("invoke", f"app.{handler}").stdout == answer


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("raising", "ValueError", "a reason"),
        ("exiting", "Runtime.ExitError", "RequestId: .* Runtime exited with error: exit status 3"),
        ("slow", "Sandbox.Timedout", "RequestId: .* Error: Task timed out after 0.10 seconds"),
        (
            "odd",
            "Runtime.MarshalError",
            "Unable to marshal response: Object of type object is not JSON serializable",
        ),
    ],
)
def test_an_error_is_what_lambda_would_answer(
    run: Run, handler: str, kind: str, message: str
) -> None:
    """The error is JSON on stdout, and the exit code is 1."""
    timeout = "0.1" if handler == "slow" else "30"
    result = run("invoke", f"app.{handler}", "--timeout", timeout, "--repeat", "1")
    assert result.exit_code == 1
    error = json.loads(result.stdout)
    assert error["errorType"] == kind
    assert re.fullmatch(message, error["errorMessage"])


@pytest.mark.parametrize(
    ("handler", "first", "last"),
    [
        ("slow", "in slow", "Sandbox.Timedout: Task timed out after 0.50 seconds"),
        ("odd", "Runtime.MarshalError", "JSON serializable"),
    ],
)
def test_an_error_of_lambda_itself_has_its_name(
    run: Run, handler: str, first: str, last: str
) -> None:
    """Stderr shows Lambda's name of the error; for a timeout, where the handler was then."""
    lines = run("invoke", f"app.{handler}", "--timeout", "0.5").stderr.splitlines()
    assert first in next(line for line in lines if not line.startswith("Traceback"))
    assert lines[-2].endswith(last)


def test_a_timeout_ends_what_cleans_up_too(run: Run, folder: Path) -> None:
    """A handler that waits again on its way out, as a thread pool does, is interrupted again."""
    (folder / "stuck.py").write_text(
        "import time\n"
        "def handler(event, context):\n"
        "    try: time.sleep(20)\n"
        "    finally: time.sleep(20)\n"
    )
    started = time.monotonic()
    result = run("invoke", "stuck.handler", "--timeout", "0.1")
    assert json.loads(result.stdout)["errorType"] == "Sandbox.Timedout"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "Runtime exited without providing a reason"),
        ("0", "Runtime exited without providing a reason"),
        ("-1", "Runtime exited with error: exit status 255"),
        ("'a reason'", "Runtime exited with error: exit status 1"),
    ],
)
def test_an_exit_has_the_status_that_python_gives_it(
    run: Run, folder: Path, code: str, reason: str
) -> None:
    """The result of a handler that exits is Lambda's, whatever it gives to `sys.exit`."""
    (folder / "leaving.py").write_text(
        f"import sys\ndef handler(event, context): sys.exit({code})\n"
    )
    error = json.loads(run("invoke", "leaving.handler").stdout)
    assert error["errorMessage"].partition(" Error: ")[2] == reason


@pytest.mark.parametrize(
    ("statements", "kind", "message"),
    [
        ("raise asyncio.CancelledError", "CancelledError", ""),
        ("raise GeneratorExit", "GeneratorExit", ""),
        ("raise Wordless", "Wordless", "<exception str() failed>"),
    ],
)
def test_whatever_is_raised_has_a_result(
    run: Run, folder: Path, statements: str, kind: str, message: str
) -> None:
    """An error that is not an `Exception`, or has no text, is an answer too."""
    (folder / "odd.py").write_text(
        "import asyncio\n"
        "class Wordless(Exception):\n"
        "    def __str__(self): raise ValueError\n"
        f"async def handler(event, context): {statements}\n"
    )
    result = run("invoke", "odd.handler")
    error = json.loads(result.stdout)
    assert (result.exit_code, error["errorType"], error["errorMessage"]) == (1, kind, message)
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.count("  File ") == 1


FORKING = """
import os, sys
from lambda_secrets import inject_secrets
@inject_secrets({"key": "prod/key"})
def handler(event, context):
    child = os.fork()
    if child == 0:
        print("in the child")
        %s
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("sys.exit(3)", 3, "in the child\n"),
        ("return", 0, "in the child\n"),
        ("return print('no end of line', end='')", 0, "no end of line"),
        ("return sys.stdout.close()", 0, "in the child\n"),
        ("sys.stdout = None; return", 0, "in the child\n"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt\n"),
    ],
)
def test_a_forked_child_does_not_answer(
    run: Run, folder: Path, statement: str, code: int, message: str
) -> None:
    """A child that the handler forks ends with the handler, as a process of its own would."""
    (folder / "forking.py").write_text(FORKING % statement)
    result = run("invoke", "forking.handler", *FILE)
    assert (result.exit_code, result.stdout) == (0, f"{code}\n")
    assert message in result.stderr
    assert result.stderr.count("Secrets: ") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SystemExit(), 0, ""),
        (SystemExit(-1), 255, ""),
        (SystemExit("a reason"), 1, "a reason\n"),
        (ValueError("a reason"), 1, "ValueError: a reason\n"),
        (None, 0, ""),
    ],
)
def test_a_forked_child_has_the_exit_code_that_python_gives_it(
    error: BaseException | None,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The code and the message on stderr are those of an uncaught exception."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def handler(event: Any, context: Any) -> None:
        monkeypatch.setattr(os, "getpid", lambda: 0)
        if error is not None:
            raise error

    with contextlib.ExitStack() as stack:
        Function("app.handler", handler, stack, timeout=30, attributes={}).invoke({})
    assert codes == [code]
    assert capsys.readouterr().err.endswith(message)


def test_an_interrupt_ends_the_command(run: Run, folder: Path) -> None:
    """Ctrl-C is for the command, not an answer of the handler."""
    (folder / "stopped.py").write_text("def handler(event, context): raise KeyboardInterrupt")
    result = run("invoke", "stopped.handler")
    assert (result.exit_code, result.stdout) == (130, "")


def test_without_stdout_nothing_runs(folder: Path) -> None:
    """A closed stdout is an error in one line: there is nowhere to print the result."""
    command = f"{sys.executable} -m lambda_secrets invoke app.undecorated >&-"
    done = subprocess.run(  # noqa: S602 - a shell can close it
        command, shell=True, cwd=folder, stderr=subprocess.PIPE, text=True, check=False
    )
    message = "Error: Cannot print the result: stdout or stderr is closed.\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_a_file_that_means_nothing_is_refused_before_anything_runs(run: Run, folder: Path) -> None:
    """A list of numbers is not a StringList: the error names the entry, and no handler runs."""
    (folder / "odd.json").write_text('{"parameters": {"/prod/url": [1, 2]}}')
    result = run("invoke", "app.asynchronous", "--secrets", "odd.json")
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "ssm:/prod/url: a StringList must be a list of strings" in result.stderr


def test_the_traceback_begins_in_the_handler(run: Run) -> None:
    """The traceback on stderr starts at the handler's frame; the error is JSON on stdout."""
    result = run("invoke", "app.raising")
    error = json.loads(result.stdout)
    assert re.fullmatch(r"[0-9a-f-]{36}", error["requestId"])
    first, frame, line, last = result.stderr.splitlines()[:4]
    assert first == "Traceback (most recent call last):"
    assert re.match(r'  File ".*app\.py", line \d+, in raising', frame)
    assert line.strip() == 'raise ValueError("a reason")'
    assert last == "ValueError: a reason"


def test_all_that_is_missing_is_one_error(run: Run) -> None:
    """One error names every failed secret, and the log shows the request that was refused."""
    result = run("invoke", "app.failing", *FILE)
    error = json.loads(result.stdout)
    assert (result.exit_code, error["errorType"]) == (1, "ResolutionError")
    assert "prod/missing" in error["errorMessage"]
    assert "prod/db#nokey" in error["errorMessage"]
    refused = "Local extension: ERROR GET /secretsmanager/get secretId=prod/missing 400"
    assert refused in result.stderr
    assert "CANARY" not in result.output


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SESSION_TOKEN": None}, {"AWS_SESSION_TOKEN"}),
        ({"AWS_SESSION_TOKEN": None}, set()),
        ({}, {"AWS_SESSION_TOKEN"}),
    ],
)
def test_the_extensions_variables_are_set(
    run: Run, credentials: dict[str, str | None], expected: set[str]
) -> None:
    """The ports and a token are set; credentials without a session token stay as they are."""
    result = run("invoke", "app.variables", *FILE, env=credentials)
    assert set(json.loads(result.stdout)) == expected | {
        "AWS_APPCONFIG_EXTENSION_HTTP_PORT",
        "AWS_TOKEN",
        "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT",
    }


def test_without_configurations_there_is_no_second_port(run: Run, folder: Path) -> None:
    """The AppConfig extension's port variable is not set."""
    (folder / "one.json").write_text('{"secrets": {"a": "b"}}')
    result = run("invoke", "app.variables", "--secrets", "one.json")
    assert "AWS_APPCONFIG_EXTENSION_HTTP_PORT" not in json.loads(result.stdout)


@pytest.mark.parametrize("tables", [{"secrets": {"a": "b"}}, {"appconfig": {"shop/prod/x": "y"}}])
def test_a_configuration_that_the_file_lacks_has_its_default(
    run: Run, folder: Path, tables: dict[str, Any]
) -> None:
    """With or without other configurations in the file, the default stands in for a missing one."""
    (folder / "lacking.json").write_text(json.dumps(tables))
    (folder / "flags.py").write_text(
        "from lambda_secrets import AppConfig, inject_secrets\n"
        "flags = AppConfig('shop', 'prod', 'flags', default='off')\n"
        "@inject_secrets({'flags': flags})\n"
        "def handler(event, context): return context.secrets.flags\n"
        "@inject_secrets({'flags': 'appconfig:shop/prod/flags'})\n"
        "def strict(event, context): return context.secrets.flags\n"
    )
    result = run("invoke", "flags.handler", "--secrets", "lacking.json")
    assert (result.exit_code, result.stdout) == (0, '"off"\n'), result.stderr
    error = json.loads(run("invoke", "flags.strict", "--secrets", "lacking.json").stdout)
    assert error["errorType"] == "SecretNotFoundError"
    assert "layer" not in error["errorMessage"]


def test_what_passes_check_runs_under_the_runtime_client(run: Run, folder: Path) -> None:
    """A handler that passes `check` gets its secret under the real runtime client."""
    tables: dict[str, dict[str, Any]] = {"parameters": {"/prod/url": "CANARY-url-1"}}
    with Emulator(tables) as emulator:
        env = {**emulator.environment, "LAMBDA_SECRETS_BACKEND": "extension"}
        result = run("check", "app.forever", env=env)
        assert result.exit_code == 0
        with Sandbox("app.forever", folder, env=env) as sandbox:
            assert sandbox.invoke().payload == "CANARY-url-1"


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        ("Api()", '"1"\n'),
        ("streaming", '["1", "2"]\n'),
        ("async_streaming", '["1", "2"]\n'),
        ("bytes_streaming", "ab\n"),
        ("instance", '"1"\n'),
    ],
)
def test_every_kind_of_handler_runs(run: Run, handler: str, result: str) -> None:
    """An instance, a bound method, a generator and an async generator all run."""
    if handler == "Api()":
        handler = "bound"
    done = run("invoke", f"app.{handler}", *FILE)
    assert (done.exit_code, done.stdout) == (0, result), done.stderr


def test_secrets_of_the_module_are_told(run: Run, folder: Path) -> None:
    """Secrets read through a `LiveSecrets` are counted; another's unset variable does no harm."""
    (folder / "live.py").write_text(
        "from lambda_secrets import LiveSecrets, inject_secrets\n"
        "live = LiveSecrets({'url': 'ssm:/prod/url', 'user': 'prod/db#user'})\n"
        "other = inject_secrets({'a': 'prod/a', 'b': 'env:UNSET'})(lambda event, context: 1)\n"
        "def handler(event, context): return live.url[-1]\n"
    )
    result = run("invoke", "live.handler", *FILE)
    assert (result.exit_code, result.stdout) == (0, '"1"\n')
    assert _origins(result.stderr) == "2 from the local extension, 1 not read"


def test_what_children_print_is_not_the_result(run: Run) -> None:
    """Nothing that Python, a child process or C code prints reaches stdout, even during import."""
    result = run("invoke", "loud.handler")
    assert (result.exit_code, result.stdout) == (0, "1\n")
    for text in ("imported", "printed", "by a child", "by number"):
        assert text in result.stderr


def test_a_handler_may_close_its_stdout(run: Run, folder: Path) -> None:
    """The result and the summary are printed all the same."""
    (folder / "closing.py").write_text(
        "import sys\ndef handler(event, context): sys.stdout.close()\n"
    )
    result = run("invoke", "closing.handler")
    assert (result.exit_code, result.stdout) == (0, "null\n"), result.stderr
    assert _origins(result.stderr) == "none read"


def test_what_is_printed_after_the_result_is_not_the_result(run: Run) -> None:
    """Nothing that threads and exit handlers print after the invocation reaches stdout."""
    result = run("invoke", "late.handler")
    assert (result.exit_code, result.stdout) == (0, "1\n")
    for text in ("at exit", "by a thread", "by number", "by another name"):
        assert text in result.stderr


def test_the_context_can_be_set(run: Run, folder: Path) -> None:
    """`--context` takes JSON or a JSON file; an attribute that the context lacks is wrong use."""
    (folder / "context.json").write_text('{"aws_request_id": "r-1", "function_name": "orders"}')
    result = run("invoke", "app.named", "--context", "context.json")
    assert result.stdout == '["r-1", "orders"]\n'
    for text, why in (('{"nope": 1}', "LambdaContext has no nope. It has"), ("[]", "JSON object")):
        result = run("invoke", "app.named", "--context", text)
        assert (result.exit_code, why in result.stderr) == (2, True)


def test_a_timer_that_rings_at_the_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it rings just before it is stopped, it does not ring again after the invocation."""
    stops: list[float] = []

    def set_timer(_which: int, seconds: float, _interval: float = 0) -> None:
        stops.append(seconds)
        if stops == [5, 0]:
            raise TimedOut

    monkeypatch.setattr(signal, "setitimer", set_timer)
    with pytest.raises(TimedOut), deadline(5):
        pass
    assert stops == [5, 0, 0]


def test_without_timers_a_deadline_is_only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no timers, the handler is not interrupted."""
    monkeypatch.delattr(signal, "setitimer")
    with deadline(0.001):
        time.sleep(0.002)

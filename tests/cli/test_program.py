"""The program: help, version, completion, and one-line errors."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from lambda_secrets.cli import check as check_module, main as entry
from lambda_secrets.cli.program import cli
from lambda_secrets.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from tests.cli.conftest import Run

COMMANDS = ["check", "completion", "invoke", "policy", "serve"]


def test_without_a_command_it_helps(run: Run) -> None:
    """Without a command, the commands are listed and the exit code is 0."""
    result = run()
    assert result.exit_code == 0
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_every_help_has_an_example(run: Run, command: list[str]) -> None:
    """`--help` ends with a line to copy."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Example: " in result.stdout
    assert f"lambda-secrets {' '.join(command)}".strip() in result.stdout.partition("Example: ")[2]


def test_the_version_is_the_packages(run: Run) -> None:
    """`--version` prints the program's name and version."""
    assert run("--version").stdout.startswith("lambda-secrets, version 0.")


@pytest.mark.parametrize(
    ("shell", "sign"),
    [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --no-files")],
)
def test_completion_prints_a_script(run: Run, shell: str, sign: str) -> None:
    """Each shell's completion script calls the program itself."""
    script = run("completion", shell).stdout
    assert sign in script
    assert "_LAMBDA_SECRETS_COMPLETE" in script


def test_completion_knows_the_commands(folder: Path) -> None:
    """The call that the scripts make returns the matching commands."""
    variables = {"_LAMBDA_SECRETS_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from lambda_secrets.cli.main import main; main()"],
        env={"COMP_WORDS": "lambda-secrets inv", **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "plain,invoke\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'."),
        (["chek"], "No such command 'chek'. Did you mean 'check'?"),
        (["invoke"], "Missing argument 'TARGET'."),
        (["check", "app.failing", "--shiny"], "No such option"),
        (["serve", "app"], "Got unexpected extra argument (app). See"),
        (["serve", "--port", "http"], "Invalid value for '--port': 'http' is not a valid integer"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    run: Run, arguments: list[str], message: str
) -> None:
    """The line says what is wrong and where the help is."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {message}")
    assert line.endswith(" --help.")


@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback(run: Run, folder: Path, where: str) -> None:
    """`--debug`, before or after the command, shows where an error came from."""
    (folder / "broken.py").write_text("1 / 0")
    plain = run("check", "broken.handler")
    assert "Traceback" not in plain.stderr
    command = ["check", "broken.handler"]
    result = run(*(["--debug", *command] if where == "before" else [*command, "--debug"]))
    assert result.exit_code == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert result.stderr.endswith(plain.stderr)


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (RuntimeError("a\n  reason"), 1, "Error: RuntimeError: a reason\n"),
        (BackendError("Cannot read 'a'."), 1, "Error: Cannot read 'a'.\n"),
        (OSError(errno.EPIPE, "broken pipe"), 1, ""),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_whatever_happens_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, shown: str
) -> None:
    """An unexpected error, a closed pipe and Ctrl-C end the program without a traceback."""

    def fail(_context: click.Context) -> None:
        raise error

    monkeypatch.setattr(check_module.check, "invoke", fail)
    result = CliRunner().invoke(cli, ["check", "app.failing"])
    assert (result.exit_code, result.stderr) == (code, shown)


class _Missing:
    """Makes the program's import fail as if a module were missing."""

    def __init__(self, missing: str) -> None:
        self._missing = missing

    def find_spec(self, name: str, *_: object) -> None:
        if name == "lambda_secrets.cli.program":
            raise ModuleNotFoundError(name=self._missing)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("click", SystemExit), ("rich", SystemExit), ("other", ModuleNotFoundError)],
)
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str, expected: type[BaseException]
) -> None:
    """The message names the extra; another missing module is not blamed on it."""
    monkeypatch.delitem(sys.modules, "lambda_secrets.cli.program")
    monkeypatch.setattr(sys, "meta_path", [_Missing(missing), *sys.meta_path])
    with pytest.raises(expected) as caught:
        entry.main()
    needs = f"needs {missing}. Run: pip install 'lambda-secrets[cli]'"
    assert (needs in str(caught.value)) == (missing != "other")

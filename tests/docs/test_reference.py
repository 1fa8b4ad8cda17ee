"""The reference agrees with the code: names, options, variables, declarations, errors, policies."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import shlex
import subprocess
import sysconfig
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lambda_secrets
from lambda_secrets import errors, testing
from lambda_secrets._declarations import declare
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import _refusals
from lambda_secrets.cli.policy import _SIDS
from lambda_secrets.cli.program import cli
from lambda_secrets.errors import DeclarationError
from lambda_secrets.logging import RedactSecrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

ROOT = Path(__file__).parents[2]
PACKAGE = Path(lambda_secrets.__file__).parent
CODE = re.compile(r"`([^`]+)`")


def page(name: str) -> str:
    """Return a page of the reference."""
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


def section(text: str, title: str) -> str:
    """Return the text below a heading, up to the next one."""
    [found] = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    return str(found)


def rows(text: str) -> list[list[str]]:
    """Return the cells of each table row in a text, without header rows."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith(("| `", "|`"))
    ]


# Options


def told_options(text: str, column: int) -> dict[str, str]:
    """Return the default that a table gives for each option."""
    return {row[0].strip("`"): row[column] for row in rows(text)}


def real_options(called: Any) -> dict[str, str]:
    """Return the default of each option as the tables write it."""
    return {
        name: _written(parameter.default)
        for name, parameter in inspect.signature(called).parameters.items()
        if name != "declarations"
    }


def _written(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if default is ...:
        return "`...`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def test_options_of_the_decorator_are_told() -> None:
    """The table has each option of `inject_secrets`, with its default."""
    told = told_options(section(page("options.md"), "Decorator, LiveSecrets, resolve_secrets"), 4)
    real = real_options(lambda_secrets.inject_secrets)
    assert told == {**real, "refresh_ahead": "`0`"}
    assert real["refresh_ahead"] == "`0.0`"


@pytest.mark.parametrize("name", ["LiveSecrets", "resolve_secrets"])
def test_options_that_others_share_are_marked(name: str) -> None:
    """The options of `LiveSecrets` and `resolve_secrets` are marked, and have equal defaults."""
    text = section(page("options.md"), "Decorator, LiveSecrets, resolve_secrets")
    marked = {row[0].strip("`") for row in rows(text) if row[1] == "●"}
    assert marked == real_options(getattr(lambda_secrets, name)).keys()
    defaults = inspect.signature(lambda_secrets.inject_secrets).parameters
    for option in marked:
        parameter = inspect.signature(getattr(lambda_secrets, name)).parameters[option]
        assert parameter.default == defaults[option].default


@pytest.mark.parametrize(
    "name",
    [
        *("Secret", "Parameter", "ParameterTree", "AppConfig", "Answer"),
        *("AutoBackend", "ExtensionBackend", "AwsBackend", "SdkBackend"),
        *("FileBackend", "MemoryBackend"),
    ],
)
def test_options_of_a_class_are_told(name: str) -> None:
    """The table of a class has each option with its default, in the order of the class."""
    told = told_options(section(page("options.md"), name), 3)
    real = real_options(getattr(lambda_secrets, name))
    assert list(told.items()) == list(real.items())


@pytest.mark.parametrize("name", ["override_secrets", "LambdaContext"])
def test_options_for_tests_are_told(name: str) -> None:
    """The tables of `lambda_secrets.testing` have each option with its default."""
    told = told_options(section(page("options.md"), name), 3)
    real = real_options(getattr(testing, name))
    assert told == {**real, **({"attributes": ""} if name == "LambdaContext" else {})}


# Environment variables


def variables_in_code() -> set[str]:
    """Return each string in the package that looks like an environment variable."""
    name = re.compile(r"_?[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|\w+_proxy")
    return {
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and name.fullmatch(node.value)
    }


def test_environment_variables_are_told() -> None:
    """The tables have each variable that the package reads, and no other."""
    told = {name for row in rows(page("environment.md")) for name in CODE.findall(row[0])}
    assert told == variables_in_code()


# Declarations

NAMES: dict[str, Any] = {name: getattr(lambda_secrets, name) for name in lambda_secrets.__all__}


def table(title: str) -> list[list[str]]:
    """Return the rows of a table on the declarations page, without backticks."""
    text = section(page("declarations.md"), title)
    return [[cell.removeprefix("`").removesuffix("`") for cell in row] for row in rows(text)]


EXAMPLES = table("Examples")


def test_there_are_enough_examples() -> None:
    """The page has an example for each form of a declaration."""
    assert len({string for string, _ in EXAMPLES}) >= 20


@pytest.mark.parametrize(("string", "same"), EXAMPLES)
def test_string_and_object_are_the_same(string: str, same: str) -> None:
    """Each string in the examples declares the same as the object beside it."""
    assert declare(string) == eval(same, NAMES)  # noqa: S307 - our own page


@pytest.mark.parametrize(("declared", "variable", "same"), table("Environment variables"))
def test_variable_is_read_as_told(
    declared: str, variable: str, same: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each declaration with a variable resolves to the object beside it."""
    [name] = re.findall(r"env:(\w+)", declared)
    monkeypatch.setenv(name, variable)
    found = declare(eval(declared, NAMES))  # noqa: S307 - our own page
    assert found.resolved() == eval(same, NAMES)  # noqa: S307 - our own page


@pytest.mark.parametrize(("string", "message"), table("What is wrong"))
def test_wrong_string_says_what_is_told(string: str, message: str) -> None:
    """Each wrong example is refused with the message beside it."""
    with pytest.raises(DeclarationError) as caught:
        declare(string)
    assert message in str(caught.value)


# IAM


def test_policy_is_what_the_command_prints(tmp_path: Path) -> None:
    """The command prints the page's policy for the page's handler."""
    text = section(page("iam.md"), "A whole policy")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    (tmp_path / "app.py").write_text(blocks["python"])
    program, *arguments = shlex.split(blocks["console"].removeprefix("$ "))
    command = [f"{sysconfig.get_path('scripts')}/{program}", *arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == blocks["json"]


def test_table_has_every_action() -> None:
    """Each action that a policy can have is in the table of kinds."""
    told = section(page("iam.md"), "By kind")
    assert [action for action in _SIDS if f"`{action}`" not in told] == []


# The command line


def commands() -> dict[str, click.Command]:
    """Return the program's commands by name."""
    return {**cli.commands, "lambda-secrets": cli}


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_of_a_command_is_told(name: str) -> None:
    """Each command and each of its options is on the page of commands."""
    told = (ROOT / "docs" / "commands.md").read_text("utf-8")
    options = {text for each in commands()[name].params for text in each.opts if text[0] == "-"}
    assert {option for option in options if not re.search(rf"{option}\b", told)} == set()
    assert f"`{name}`" in told


# Errors

# Texts of three words or more that are not messages, or only the middle part of one.
NO_MESSAGES = {
    " - at (`\\$[^`]*`|`key` in `\\$[^`]*`)$",
    "Clear the cache of secrets and close its clients around each test (moto, LocalStack).",
    "Fail a test that reads a secret from AWS or its extension outside of override_secrets.",
    "AWS4-HMAC-SHA256 Credential=…/…, SignedHeaders=…, Signature=…",
    "Object missing required field (`[^`]*`)",
    "appconfig:StartConfigurationSession and appconfig:GetLatestConfiguration",
    "no reason given",
    "not an HTTP reply",
    "signature not yet current",
    "unexpected keyword argument …",
    "unknown transfer coding",
}


def templates(*, cli: bool = False) -> set[str]:
    """Return each text in the library, or in the command line, that may be a message."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if ("cli" in path.relative_to(PACKAGE).parts) is cli:
            found |= set(_templates(ast.parse(path.read_bytes())))
    sentence = re.compile(r"\b[a-z]{2,}\b")  # a list of names has no such word
    return {
        text
        for text in found - NO_MESSAGES
        if text.count(" ") >= 2 and sentence.search(text) and "\r\n" not in text
        if len(re.findall(r"[A-Za-z]{2,}", text)) >= 3
    }


def _templates(node: ast.AST) -> Iterator[str]:
    """Yield the texts below a node except docstrings, with … for each part that is filled in."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        yield re.sub("…+", "…", "".join(map(str, parts)))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub(r"\{\w+\}|%[srd]", "…", node.value)
    for child in ast.iter_child_nodes(node):
        if not isinstance(node, ast.JoinedStr) or isinstance(child, ast.FormattedValue):
            yield from _templates(child)


def told_messages(columns: int) -> set[str]:
    """Return each piece of a message in the first columns of the errors page."""
    return _pieces(page("errors.md"), columns)


def _pieces(text: str, columns: int) -> set[str]:
    cells = [cell for row in rows(text) for cell in row[:columns]]
    return {code for cell in cells for code in CODE.findall(cell) if " " in code}


def shows(told: str, template: str) -> bool:
    """Return whether a piece belongs to a message, and is long enough to identify it."""
    fixed = len(told.replace("…", ""))
    enough = fixed >= 20 or fixed >= len(template.replace("…", "")) / 2
    return enough and is_part(told, template)


def is_part(told: str, template: str) -> bool:
    """Return whether a message has the parts of a piece, in their order."""
    words = [re.escape(part.strip()) for part in re.split("…+", told)]
    return re.search(".*".join(words), template, re.DOTALL) is not None


def test_every_message_is_told() -> None:
    """Each message that the library can raise or log is on the errors page."""
    told = told_messages(2)
    assert [text for text in templates() if not any(shows(one, text) for one in told)] == []


def test_no_message_on_the_page_has_gone() -> None:
    """Each message on the errors page is in the library."""
    known = templates()
    gone = [told for told in told_messages(1) if not any(shows(told, text) for text in known)]
    assert gone == []


# Messages of others: the extension, Python and type checkers.
WORDED_BY_OTHERS = {
    "an unexpected error occurred while executing request",
    "coroutine is not JSON serializable",
    "'dict' object has no attribute",
    "has no attribute 'secrets'",
    'has no attribute "secrets"',
    "is not a mapping",
    "'Secrets' object is not iterable",
    "missing 1 required keyword-only argument: 'db'",
    "missing 1 required positional argument: 'db'",
    "must be a mapping, not str",
    "not JSON serializable",
    "not ready to serve traffic",
    "string indices must be integers",
    "unexpected keyword argument 'db'",
}


def test_symptoms_quote_messages_that_exist() -> None:
    """Each message in the table of symptoms comes from the library, or is a known one of others."""
    text = section((ROOT / "docs" / "faq.md").read_text("utf-8"), "Symptoms")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    quoted = {code for line in lines for code in CODE.findall(line.split("|")[1]) if " " in code}
    assert quoted >= WORDED_BY_OTHERS
    ours, known = quoted - WORDED_BY_OTHERS, templates()
    assert len(ours) > 10
    assert [one for one in ours if not any(is_part(one, text) for text in known)] == []


def test_messages_stand_below_their_class() -> None:
    """A message that an error class is raised with is in the section of that class."""
    private = {"UnaskedError": "BackendError", "UnexplainedError": "BackendError"}
    private |= dict.fromkeys(("NotReadyError", "NotListeningError"), "BackendUnavailableError")
    parts = re.split(r"^## (.*)$", page("errors.md"), flags=re.MULTILINE)
    sections = {
        title: _pieces(text, 2) for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    known = templates()
    misplaced = [
        (name, text)
        for given, text in _given_to_errors()
        if (name := private.get(given, given)) in sections
        and text in known
        and not any(shows(one, text) for one in sections[name])
    ]
    assert misplaced == []


def _given_to_errors() -> Iterator[tuple[str, str]]:
    """Yield each text that is passed to a call, after the name of what is called."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                for argument in node.args:
                    for text in _templates(argument):
                        yield ast.unparse(node.func), text


def test_every_error_class_is_told() -> None:
    """The errors page names each error class."""
    text = page("errors.md")
    classes = [name for name, thing in vars(errors).items() if isinstance(thing, type)]
    assert len(classes) == 9
    assert [name for name in classes if f"`{name}`" not in text] == []


def test_codes_of_aws_are_told() -> None:
    """The table has each AWS code that the library knows, with our error class."""
    told = {
        (code, row[0].strip("`"))
        for row in rows(section(page("errors.md"), "Codes of AWS"))
        for code in CODE.findall(row[1])
    }
    assert told == {(code, kind_of(our()).__name__) for code, (our, _) in _refusals.CODES.items()}


def test_messages_of_the_command_line_are_told() -> None:
    """The page of commands has each message that ends a command, and no outdated one."""
    text = section((ROOT / "docs" / "commands.md").read_text("utf-8"), "When a command fails")
    told, known = _pieces(text, 1), templates(cli=True)
    ends = {"Failure", "CannotLoad", "click.UsageError", "ctx.fail"}
    given = {text for name, text in _given_to_errors() if name in ends and text in known}
    assert len(given) > 10
    assert {text for text in given if not any(shows(one, text) for one in told)} == set()
    short = {"Cannot load …: …", "… has no …."}  # too short to identify
    assert {one for one in told - short if not any(shows(one, text) for text in known)} == set()


# API

PUBLIC = {
    **{f"lambda_secrets.{name}": getattr(lambda_secrets, name) for name in lambda_secrets.__all__},
    "lambda_secrets.logging.RedactSecrets": RedactSecrets,
    "lambda_secrets.testing.LambdaContext": testing.LambdaContext,
    "lambda_secrets.testing.override_secrets": testing.override_secrets,
}


def listed() -> set[str]:
    """Return the names that the API page shows."""
    names, module = set(), ""
    for kind, name in re.findall(r"^\.\. ([\w:]+):: ([\w.]+)", page("api.md"), re.MULTILINE):
        if kind == "currentmodule":
            module = name
        elif kind != "py:function":  # the pytest plugin's
            names.add(f"{module}.{name}")
    return names


def test_every_public_name_is_in_the_api() -> None:
    """The page shows each public name, and no other."""
    assert listed() == PUBLIC.keys()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_has_its_docstring(name: str) -> None:
    """Each public name has a docstring, and so has each of its methods and properties."""
    thing = PUBLIC[name]
    if name == "lambda_secrets.Declaration":  # a union: the page itself says what it is
        return
    assert inspect.getdoc(thing)
    members = vars(thing).items() if isinstance(thing, type) else ()
    silent = [
        member
        for member, value in members
        if member[0] != "_" and (callable(value) or isinstance(value, property))
        if not inspect.getdoc(value)
    ]
    assert silent == []


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - {"lambda_secrets.Declaration"}))
def test_docstring_tells_every_parameter(name: str) -> None:
    """A docstring that lists arguments or attributes lists every parameter."""
    thing = PUBLIC[name]
    told = inspect.getdoc(thing) or ""
    if not re.search(r"^(Args|Attributes):$", told, re.MULTILINE) or "Error" in name:
        return
    names = {
        one.strip(" `")
        for line in re.findall(r"^    ([\w ,`]+):(?: |$)", told, re.MULTILINE)
        for one in line.split(",")
    }
    assert set(inspect.signature(thing).parameters) - names == set()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_example_in_a_docstring_parses(name: str) -> None:
    """Code in a docstring is valid Python."""
    lines = (inspect.getdoc(PUBLIC[name]) or "").splitlines()
    for number, line in enumerate(lines):
        if line.endswith("::"):
            rest = itertools.takewhile(lambda one: one[:4].strip() == "", lines[number + 1 :])
            ast.parse(textwrap.dedent("\n".join(rest)))


def test_pytest_plugin_is_told() -> None:
    """The API page has the pytest fixture and each pytest option."""
    source = (PACKAGE / "pytest_plugin.py").read_text("utf-8")
    options = re.findall(r'addini\(\s+"(\w+)"', source)
    assert len(options) == 2
    assert [name for name in options if f"`{name}`" not in page("api.md")] == []
    assert ".. py:function:: override_secrets(" in page("api.md")

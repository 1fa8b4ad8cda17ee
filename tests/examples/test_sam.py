"""The SAM example: its README's commands, its template and what they build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.examples.artefact import ANSWER, LOGIN, date_1980, invoke, without_valid_bytecode
from tests.integration.conftest import PORT
from tests.support.faults import FakeExtension

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout

FIVE_COMMANDS = 5


class Template(yaml.SafeLoader):
    """Reads CloudFormation's YAML: each intrinsic function is replaced by its argument."""


Template.add_multi_constructor("!", lambda loader, tag, node: node.value)


@pytest.fixture(scope="module")
def printed(checkout: Checkout) -> list[str]:
    """Run the README's commands up to the artefact; return what each printed."""
    return [checkout.run(command) for command in checkout.commands("sam")[:FIVE_COMMANDS]]


@pytest.fixture
def artefact(printed: list[str], checkout: Checkout) -> Path:
    """Return the folder that SAM would zip."""
    return checkout.root / ".aws-sam" / "build" / "Function"


def load(text: str) -> Any:
    """Parse a template's YAML."""
    return yaml.load(text, Template)  # noqa: S506 - a safe loader


def resources(template: Path) -> dict[str, Any]:
    """Return the resources of a template."""
    made: dict[str, Any] = load(template.read_text("utf-8"))["Resources"]
    return made


def test_five_commands_lead_to_an_artefact(printed: list[str], checkout: Checkout) -> None:
    """The README's commands work as they stand; the sixth one deploys."""
    assert checkout.commands("sam")[FIVE_COMMANDS:] == [".venv-sam/bin/sam deploy --guided"]
    assert "is a valid SAM Template" in printed[3]
    assert "Build Succeeded" in printed[4]


def test_template_passes_cfn_lint(printed: list[str], checkout: Checkout) -> None:
    """Neither the template nor the one that SAM builds from it has a finding."""
    lint = ".venv-sam/bin/cfn-lint examples/sam/template.yaml .aws-sam/build/template.yaml"
    assert checkout.run(lint) == ""


def test_policy_is_what_the_command_prints(printed: list[str], checkout: Checkout) -> None:
    """The policy is the one that `policy` prints, with pseudo parameters for the place."""
    text = (checkout.root / "examples/sam/template.yaml").read_text("utf-8")
    _, _, policies = text.partition("      Policies:\n")
    written = load("Policies:\n" + policies.partition("\nOutputs")[0])
    place = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012"}
    [policy] = written["Policies"]
    [statement] = policy["Statement"]
    for name, text in place.items():
        statement["Resource"] = [arn.replace(f"${{{name}}}", text) for arn in statement["Resource"]]
    assert yaml.safe_load(printed[2])["Policies"] == [policy]


def test_bytecode_is_valid_after_the_zip(artefact: Path) -> None:
    """Every module has valid bytecode, although zipping has changed the file times."""
    assert (artefact / "lambda_secrets" / "__init__.py").exists()
    date_1980(artefact)
    assert without_valid_bytecode(artefact) == []


def test_artefact_runs_as_on_lambda(artefact: Path) -> None:
    """The runtime client runs the handler through the extension, and compiles nothing."""
    with FakeExtension({"example/db": LOGIN}) as extension:
        answer = invoke(artefact, package=artefact, env={PORT: str(extension.port)})
        assert extension.asked() == ["example/db"]
    assert answer == ANSWER


def test_secret_fits_the_function(checkout: Checkout) -> None:
    """The template creates the declared secret and attaches the extension's layer."""
    made = resources(checkout.root / "examples/sam/template.yaml")
    assert made["Database"]["Properties"]["Name"] == "example/db"
    assert made["Function"]["Properties"]["Layers"] == ["SecretsExtension"]

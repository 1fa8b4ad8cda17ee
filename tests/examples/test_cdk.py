"""The CDK example: the output of `cdk synth`, made by the README's commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.artefact import ANSWER, LOGIN, date_1980, invoke, without_valid_bytecode
from tests.integration.conftest import PORT
from tests.support.faults import FakeExtension

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout


@pytest.fixture(scope="module")
def assembly(node_modules: Path, checkout: Checkout) -> Path:
    """Run the README's commands up to `cdk synth`; return the folder that it fills."""
    environment, requirements, synth, _ = checkout.commands("cdk")
    assert synth.count("npx aws-cdk@2") == 1
    cdk = str(node_modules / ".bin" / "cdk")
    for command in (environment, requirements, synth.replace("npx aws-cdk@2", cdk)):
        checkout.run(command)
    return checkout.root / "examples" / "cdk" / "cdk.out"


@pytest.fixture(scope="module")
def resources(assembly: Path) -> dict[str, dict[str, Any]]:
    """Return the stack's resources by their type."""
    template = json.loads((assembly / "LambdaSecretsExample.template.json").read_text("utf-8"))
    return {made["Type"]: made["Properties"] for made in template["Resources"].values()}


@pytest.fixture(scope="module")
def artefact(assembly: Path) -> Path:
    """Return the folder that CDK would zip."""
    [folder] = assembly.glob("asset.*")
    return folder


def test_stack_has_secret_extension_and_policy(resources: dict[str, dict[str, Any]]) -> None:
    """The function has the extension's layer and settings, and may read its one secret."""
    function = resources["AWS::Lambda::Function"]
    assert len(function["Layers"]) == 1
    assert function["Environment"]["Variables"]["SECRETS_MANAGER_TTL"] == "0"
    assert resources["AWS::SecretsManager::Secret"]["Name"] == "example/db"
    [statement] = resources["AWS::IAM::Policy"]["PolicyDocument"]["Statement"]
    assert "secretsmanager:GetSecretValue" in statement["Action"]
    assert statement["Resource"]["Ref"].startswith("Database")


def test_asset_runs_as_on_lambda_with_valid_bytecode(artefact: Path) -> None:
    """The runtime client runs the handler from the bundled asset, and compiles nothing."""
    date_1980(artefact)
    assert without_valid_bytecode(artefact) == []
    with FakeExtension({"example/db": LOGIN}) as extension:
        answer = invoke(artefact, package=artefact, env={PORT: str(extension.port)})
    assert answer == ANSWER

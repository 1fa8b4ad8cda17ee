"""The Terraform example: its configuration, and the package that its build script makes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import hcl2
import pytest

from tests.examples.bytecode import bytecode_in, date_1980, without_valid_bytecode
from tests.examples.test_sam import LOGIN
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout
    from tests.support.moto_server import MotoServer

PLACE = {
    "${data.aws_partition.current.partition}": "aws",
    "${data.aws_region.current.region}": "eu-west-1",
    "${data.aws_caller_identity.current.account_id}": "123456789012",
}


def blocks(text: str, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the blocks of one kind by their two labels, quotes left out."""
    plain = json.loads(json.dumps(hcl2.loads(text)).replace('\\"', ""))
    return {
        (label, name): body
        for block in plain[kind]
        for label, named in block.items()
        for name, body in named.items()
    }


@pytest.fixture(scope="module")
def configuration(checkout: Checkout) -> str:
    """Return the text of `main.tf`."""
    return (checkout.root / "examples" / "terraform" / "main.tf").read_text("utf-8")


@pytest.fixture(scope="module")
def printed(checkout: Checkout) -> list[str]:
    """Run the README's commands up to the package; return what each printed."""
    return [checkout.run(command) for command in checkout.commands("terraform")[:3]]


@pytest.fixture
def package(printed: list[str], checkout: Checkout) -> Path:
    """Return the folder that Terraform would zip."""
    return checkout.root / "examples" / "terraform" / "build"


def test_references_lead_somewhere(configuration: str) -> None:
    """Every resource and data source that the configuration refers to is in it."""
    resources, data = blocks(configuration, "resource"), blocks(configuration, "data")
    assert ("aws_lambda_function", "function") in resources
    for label, name in [*resources, *data]:
        assert f"{label}.{name}." in configuration or label.startswith(
            ("aws_lambda_function", "aws_iam_role_policy", "aws_secretsmanager_secret_version")
        )


def test_secret_fits_the_function(configuration: str, checkout: Checkout) -> None:
    """The configuration makes the secret that the function declares; its value is written only."""
    resources = blocks(configuration, "resource")
    name = resources["aws_secretsmanager_secret", "database"]["name"]
    assert f'"{name}#@"' in (checkout.root / "examples/terraform/function/app.py").read_text()
    version = resources["aws_secretsmanager_secret_version", "database"]
    assert "secret_string_wo" in version
    assert "secret_string" not in version


def test_policy_is_what_the_command_prints(configuration: str, printed: list[str]) -> None:
    """The policy is the least one, with data sources where the place stands."""
    key = ("aws_iam_policy_document", "lambda_secrets")
    for reference, text in PLACE.items():
        assert reference in configuration
        configuration = configuration.replace(reference, text)
    assert blocks(configuration, "data")[key] == blocks(printed[1], "data")[key]


@pytest.mark.skipif(not shutil.which("terraform"), reason="needs Terraform on the PATH")
def test_configuration_is_formatted(checkout: Checkout) -> None:
    """`terraform fmt` parses the configuration and would change nothing."""
    assert checkout.run("terraform fmt -check -diff examples/terraform") == ""


def test_package_runs_as_on_lambda_with_valid_bytecode(
    package: Path, moto_server: MotoServer
) -> None:
    """The runtime client runs the handler from the package against AWS's API, and compiles nothing."""
    moto_server.put_secret("example/db", json.dumps(LOGIN))
    date_1980(package)
    assert without_valid_bytecode(package) == []
    before = bytecode_in(package)
    env = {"AWS_ENDPOINT_URL": moto_server.url, "PYTHONDONTWRITEBYTECODE": None}
    with Sandbox("app.lambda_handler", package, env=env) as sandbox:
        answer = sandbox.invoke()
        assert answer.payload == {"login": "app@db.example.internal:5432"}, sandbox.log()
    assert bytecode_in(package) == before

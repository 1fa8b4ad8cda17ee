"""The Terraform example: its configuration, and the package that its build script makes."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import hcl2
import pytest

from tests.examples.artefact import ANSWER, LOGIN, date_1980, invoke, without_valid_bytecode

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
    """Every resource, data source and ephemeral value that is referred to is declared."""
    kinds = {"resource": "", "data": "data.", "ephemeral": "ephemeral."}
    declared = {
        f"{prefix}{label}.{name}"
        for kind, prefix in kinds.items()
        for label, name in blocks(configuration, kind)
    }
    references = set(
        re.findall(r"(?:data\.|ephemeral\.)?\b(?:aws|archive|random)_\w+\.\w+", configuration)
    )
    assert len(references) > 5
    assert references - declared == set()


def test_secret_fits_the_function(configuration: str, checkout: Checkout) -> None:
    """The configuration creates the secret that the function declares; its value is write-only."""
    resources = blocks(configuration, "resource")
    name = resources["aws_secretsmanager_secret", "database"]["name"]
    assert f'"{name}#@"' in (checkout.root / "examples/terraform/function/app.py").read_text()
    version = resources["aws_secretsmanager_secret_version", "database"]
    assert "secret_string_wo" in version
    assert "secret_string" not in version


def test_policy_is_what_the_command_prints(configuration: str, printed: list[str]) -> None:
    """The policy is the one that `policy` prints, with data sources for the place."""
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
    """The runtime client runs the handler against AWS's API, and compiles nothing."""
    moto_server.put_secret("example/db", json.dumps(LOGIN))
    date_1980(package)
    assert without_valid_bytecode(package) == []
    env = {"AWS_ENDPOINT_URL": moto_server.url}
    assert invoke(package, package=package, env=env) == ANSWER

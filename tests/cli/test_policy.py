"""`lambda-secrets policy`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import AppConfig, DeclarationError, Parameter, ParameterTree, Secret
from lambda_secrets.cli import policy as policy_module
from lambda_secrets.cli.failure import Failure
from lambda_secrets.cli.policy import Place, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lambda_secrets._secret import Declaration
    from tests.cli.conftest import Run
    from tests.support.moto_server import MotoServer

WHERE = ("--account", "123456789012", "--region", "eu-west-1")
PLACE = Place("aws", "eu-west-1", "123456789012")
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ACTIONS = {
    "secretsmanager": {"DescribeSecret", "GetSecretValue"},
    "ssm": {"GetParameter", "GetParameters", "GetParametersByPath"},
    "appconfig": {"StartConfigurationSession", "GetLatestConfiguration"},
    "kms": {"Decrypt"},
}
ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):([a-z]+):[a-z0-9-]+:(\d{12})?:[A-Za-z0-9/_+=.@:?-]+")


def check_grammar(policy: dict[str, Any]) -> None:
    """Assert that this policy follows IAM's grammar and grants no more than it names."""
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert sids
    assert len(set(sids)) == len(sids)
    for statement in policy["Statement"]:
        assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert statement["Effect"] == "Allow"
        assert statement["Action"]
        assert statement["Resource"]
        (service,) = {action.partition(":")[0] for action in statement["Action"]}
        assert {action.partition(":")[2] for action in statement["Action"]} <= ACTIONS[service]
        for resource in statement["Resource"]:
            match = ARN.fullmatch(resource)
            assert match is not None
            assert match[2] == service
            assert "?" not in resource.removesuffix("-??????")


def _granted(policy: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


SSM = "arn:aws:ssm:eu-west-1:123456789012:parameter/"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"
OTHERS = "arn:aws:secretsmanager:us-east-1:210987654321:secret:prod/db"
CONFIGURATION = "arn:aws:appconfig:eu-west-1:123456789012:application/a/environment/e/configuration"


@pytest.mark.parametrize(
    ("declaration", "extension", "sdk"),
    [
        (
            Secret("prod/db"),
            {("secretsmanager:GetSecretValue", f"{SECRET}prod/db-??????")},
            {("secretsmanager:GetSecretValue", f"{SECRET}prod/db-??????")},
        ),
        (
            Secret(f"{OTHERS}-AbC123"),
            {("secretsmanager:GetSecretValue", f"{OTHERS}-AbC123")},
            {("secretsmanager:GetSecretValue", f"{OTHERS}-AbC123")},
        ),
        (
            Secret(OTHERS),
            {("secretsmanager:GetSecretValue", f"{OTHERS}-??????")},
            {("secretsmanager:GetSecretValue", f"{OTHERS}-??????")},
        ),
        (
            Parameter("/prod/url"),
            {("ssm:GetParameter", f"{SSM}prod/url")},
            {("ssm:GetParameters", f"{SSM}prod/url")},
        ),
        (
            Parameter("flat", label="Live"),
            {("ssm:GetParameter", f"{SSM}flat")},
            {("ssm:GetParameters", f"{SSM}flat")},
        ),
        (
            Parameter("arn:aws:ssm:us-east-1:210987654321:parameter/x"),
            {("ssm:GetParameter", "arn:aws:ssm:us-east-1:210987654321:parameter/x")},
            {("ssm:GetParameters", "arn:aws:ssm:us-east-1:210987654321:parameter/x")},
        ),
        (
            Parameter("/aws/service/public"),
            {("ssm:GetParameter", "arn:aws:ssm:eu-west-1::parameter/aws/service/public")},
            {("ssm:GetParameters", "arn:aws:ssm:eu-west-1::parameter/aws/service/public")},
        ),
        (
            Parameter("/aws/reference/secretsmanager/prod/db"),
            {
                ("ssm:GetParameter", f"{SSM}aws/reference/secretsmanager/prod/db"),
                ("secretsmanager:GetSecretValue", f"{SECRET}prod/db-??????"),
            },
            {
                ("ssm:GetParameters", f"{SSM}aws/reference/secretsmanager/prod/db"),
                ("secretsmanager:GetSecretValue", f"{SECRET}prod/db-??????"),
            },
        ),
        (
            ParameterTree("/prod/app/"),
            None,
            {
                ("ssm:GetParametersByPath", f"{SSM}prod/app"),
                ("ssm:GetParametersByPath", f"{SSM}prod/app/"),
            },
        ),
        (
            AppConfig("a", "e", "p"),
            {
                ("appconfig:GetLatestConfiguration", f"{CONFIGURATION}/p"),
                ("appconfig:StartConfigurationSession", f"{CONFIGURATION}/p"),
            },
            {
                ("appconfig:GetLatestConfiguration", f"{CONFIGURATION}/p"),
                ("appconfig:StartConfigurationSession", f"{CONFIGURATION}/p"),
            },
        ),
    ],
)
def test_each_kind_needs_its_actions_on_itself(
    declaration: Declaration,
    extension: set[tuple[str, str]] | None,
    sdk: set[tuple[str, str]],
) -> None:
    """Each kind of declaration grants the actions that its reader calls, on its own resource."""
    for readers, expected in ((("extension",), extension), (("sdk",), sdk)):
        if expected is None:
            with pytest.raises(Failure, match="The extension cannot read ssm:/prod/app/"):
                statements([(declaration.source, readers, PLACE)])
            continue
        found = statements([(declaration.source, readers, PLACE)])
        policy = {"Version": "2012-10-17", "Statement": found}
        check_grammar(policy)
        assert _granted(policy) == expected


def test_both_readers_need_both_actions() -> None:
    """Backend "auto" may read through either, so one statement grants the actions of both."""
    (found,) = statements([(Parameter("/a").source, ("extension", "sdk"), PLACE)])
    assert found["Action"] == ["ssm:GetParameter", "ssm:GetParameters"]


def test_layers_of_different_backends_share_nothing() -> None:
    """Each backend's action is granted only on the parameters that it reads."""
    sources = {"extension": Parameter("/a").source, "sdk": Parameter("/b").source}
    found = statements([(source, (reader,), PLACE) for reader, source in sources.items()])
    assert [statement["Sid"] for statement in found] == ["ReadParameters", "ReadParameters2"]
    assert _granted({"Statement": found}) == {
        ("ssm:GetParameter", f"{SSM}a"),
        ("ssm:GetParameters", f"{SSM}b"),
    }


@pytest.mark.parametrize(
    ("declaration", "needed"),
    [
        (Secret("a"), True),
        (Parameter("/a"), True),
        (Parameter("/a", decrypt=False), False),
        (ParameterTree("/a/", decrypt=False), False),
        (AppConfig("a", "e", "p"), True),
    ],
)
def test_keys_are_for_what_is_decrypted(declaration: Declaration, needed: bool) -> None:
    """kms:Decrypt is granted on the given keys only if something is decrypted."""
    found = statements([(declaration.source, ("sdk",), PLACE)], [KEY])
    assert (("kms:Decrypt", KEY) in _granted({"Statement": found})) == needed


@pytest.mark.parametrize("name", ["prod/*", "prod/db?"])
def test_a_name_that_iam_would_take_for_a_pattern_is_refused(name: str) -> None:
    """A name with a wildcard would grant more than itself."""
    with pytest.raises(Failure, match="IAM reads its name as a pattern"):
        statements([(Secret(name).source, ("sdk",), PLACE)])


def test_the_handlers_declarations_are_granted(run: Run) -> None:
    """The policy is JSON on stdout; a note about AppConfig's ids is on stderr."""
    result = run("policy", "app.lambda_handler", *WHERE, "--kms-key", KEY)
    assert result.exit_code == 0
    policy = json.loads(result.stdout)
    check_grammar(policy)
    assert [statement["Sid"] for statement in policy["Statement"]] == [
        "ReadSecrets",
        "ReadParameters",
        "ReadParameterTrees",
        "ReadConfigurations",
        "DecryptValues",
    ]
    assert "by their ids" in result.stderr
    assert "CANARY" not in result.output


@pytest.mark.parametrize("handler", ["batched", "batched_without_layer"])
def test_what_only_a_wildcard_grants_is_left_out_and_told(run: Run, handler: str) -> None:
    """Batched reads need an action that cannot be limited to a resource; a note says so."""
    result = run("policy", f"app.{handler}", *WHERE)
    check_grammar(json.loads(result.stdout))
    assert "secretsmanager:BatchGetSecretValue" in result.stderr


def test_a_backend_of_ones_own_may_have_any_attributes(run: Run) -> None:
    """The private attributes of a custom backend are not looked at."""
    result = run("policy", "app.through_ones_own", *WHERE)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["Statement"][0]["Sid"] == "ReadSecrets"


@pytest.mark.parametrize("handler", ["lambda_handler", "failing", "forever"])
@pytest.mark.parametrize("backend", ["sdk", "auto"])
def test_iam_takes_the_policy(
    run: Run, moto_server: MotoServer, handler: str, backend: str
) -> None:
    """IAM, as moto plays it, accepts the policy."""
    result = run("policy", f"app.{handler}", *WHERE, "--backend", backend)
    check_grammar(json.loads(result.stdout))
    iam = moto_server.client("iam")
    made = iam.create_policy(PolicyName=handler, PolicyDocument=result.stdout)
    assert made["Policy"]["PolicyName"] == handler


def test_sam_gets_yaml(run: Run) -> None:
    """The `Policies` property holds the same statements as the JSON."""
    yaml = pytest.importorskip("yaml")
    command = ("policy", "app.lambda_handler", *WHERE)
    expected = json.loads(run(*command).stdout)
    assert yaml.safe_load(run(*command, "--format", "sam").stdout) == {"Policies": [expected]}


def _terraform(text: str) -> Iterator[dict[str, Any]]:
    """Yield the statements of the data source in this text."""
    head, *lines, end = text.strip().splitlines()
    assert (head, end) == ('data "aws_iam_policy_document" "lambda_secrets" {', "}")
    for block in "\n".join(lines).split("  statement {\n")[1:]:
        *arguments, closing = block.strip("\n").splitlines()
        assert closing == "  }"
        yield {
            name: json.loads(value)
            for name, value in (re.split(r" += ", line.strip(), maxsplit=1) for line in arguments)
        }


def test_terraform_gets_a_data_source(run: Run) -> None:
    """The data source holds the same statements as the JSON."""
    command = ("policy", "app.lambda_handler", *WHERE)
    expected = json.loads(run(*command).stdout)["Statement"]
    found = list(_terraform(run(*command, "--format", "terraform").stdout))
    assert found == [
        {"sid": one["Sid"], "actions": one["Action"], "resources": one["Resource"]}
        for one in expected
    ]


@pytest.mark.parametrize(
    ("region", "more", "partition"),
    [
        ("eu-west-1", [], "aws"),
        ("cn-north-1", [], "aws-cn"),
        ("us-gov-west-1", [], "aws-us-gov"),
        ("eusc-de-east-1", ["--partition", "aws-eusc"], "aws-eusc"),
    ],
)
def test_the_region_tells_the_partition(
    run: Run, region: str, more: list[str], partition: str
) -> None:
    """China and GovCloud have their own partitions; any other can be given."""
    where = ["--account", "123456789012", "--region", region, *more]
    found = json.loads(run("policy", "app.forever", *where, "--backend", "sdk").stdout)
    assert found["Statement"][0]["Resource"] == [
        f"arn:{partition}:ssm:{region}:123456789012:parameter/prod/url"
    ]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["--account", "123", "--region", "eu-west-1"], "--account '123' must be the 12 digits"),
        (["--account", "*" * 12, "--region", "eu-west-1"], "must be the 12 digits of an account"),
        (["--account", "1" * 12, "--region", "*"], "--region '*' must be a region"),
        ([*WHERE, "--partition", "*"], "--partition '*' must be a partition"),
        ([*WHERE, "--kms-key", "*"], "--kms-key '*' must be the ARN of a key"),
        ([*WHERE, "--kms-key", KEY.replace("key/", "alias/")], "(an alias grants nothing)"),
    ],
)
def test_wrong_use(run: Run, where: list[str], message: str) -> None:
    """An invalid account, region, partition or key never gets into a policy."""
    result = run("policy", "app.forever", *where)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_policy_that_cannot_be_written_has_no_notes(run: Run) -> None:
    """The error stands alone: notes on a policy that is not printed would hide it."""
    result = run("policy", "app.lambda_handler", *WHERE, "--backend", "extension")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: The extension cannot read ssm:/prod/app/.")


def test_a_backend_of_another_region_is_granted_there(run: Run, folder: Path) -> None:
    """An AwsBackend's region replaces the function's; "auto" may read in both."""
    (folder / "far.py").write_text(
        "from lambda_secrets import AutoBackend, AwsBackend, inject_secrets\n"
        "backend = AwsBackend(region='eu-central-1')\n"
        "far = inject_secrets({'a': 'prod/far', 'b': 'ssm:/prod/url'}, backend=backend)(print)\n"
        "near = inject_secrets({'c': 'prod/near'}, backend='aws')(print)\n"
        "both = inject_secrets({'d': 'prod/both'}, backend=AutoBackend(aws=backend))(print)\n"
    )
    granted = _granted(json.loads(run("policy", "far", *WHERE).stdout))
    assert granted == {
        ("ssm:GetParameters", f"{SSM}prod/url".replace("west", "central")),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/far-??????".replace("west", "central")),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/near-??????"),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/both-??????"),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/both-??????".replace("west", "central")),
    }


def test_a_session_or_client_of_another_region_is_granted_there(run: Run, folder: Path) -> None:
    """The region of a session replaces the function's, and that of a client the session's."""
    (folder / "far.py").write_text(
        "import boto3\n"
        "from lambda_secrets import SdkBackend, inject_secrets\n"
        "session = boto3.Session(region_name='eu-central-1')\n"
        "client = boto3.client('ssm', region_name='eu-south-1')\n"
        "backend = SdkBackend(session=session, parameter_client=client)\n"
        "far = inject_secrets({'a': 'prod/far', 'b': 'ssm:/prod/url'}, backend=backend)(print)\n"
        "near = inject_secrets({'c': 'prod/near'}, backend=SdkBackend())(print)\n"
    )
    assert _granted(json.loads(run("policy", "far", *WHERE).stdout)) == {
        ("ssm:GetParameters", f"{SSM}prod/url".replace("west", "south")),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/far-??????".replace("west", "central")),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/near-??????"),
    }


def test_several_targets_are_one_policy(run: Run, folder: Path) -> None:
    """A policy for several handlers and a module grants exactly what they declare."""
    (folder / "other.py").write_text(
        "from lambda_secrets import inject_secrets\n"
        "handler = inject_secrets({'a': 'prod/other', 'b': 'prod/db'})(lambda event, context: 1)\n"
    )
    result = run("policy", "app.under_others", "app.instance", "other", *WHERE, "--backend", "sdk")
    policy = json.loads(result.stdout)
    check_grammar(policy)
    assert _granted(policy) == {
        ("ssm:GetParameters", f"{SSM}prod/url"),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/db-??????"),
        ("secretsmanager:GetSecretValue", f"{SECRET}prod/other-??????"),
    }
    assert "secrets that only resolve_secrets() reads, at run time, are not listed" in result.stderr
    assert "Note: app declares more secrets: use app as the target to see all.\n" in result.stderr
    assert "other declares" not in result.stderr


@pytest.mark.parametrize("name", ["app.failing", "app.under_others"])
def test_the_agent_describes_secrets_too(run: Run, name: str) -> None:
    """`--agent` adds one action on the policy's secrets, and nothing if it has none."""
    plain = json.loads(run("policy", name, *WHERE).stdout)
    policy = json.loads(run("policy", name, *WHERE, "--agent").stdout)
    check_grammar(policy)
    read, describe = "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"
    described = {(describe, arn) for action, arn in _granted(plain) if action == read}
    assert _granted(policy) == _granted(plain) | described
    assert bool(described) is (name == "app.failing")
    assert len(policy["Statement"]) == len(plain["Statement"])


class Unnamed:
    """A declaration whose name comes from an environment variable."""

    variable = "DB_SECRET"
    decrypt = True

    @property
    def source(self) -> Any:
        """Refuse: the variable is not set."""
        raise DeclarationError("The environment variable DB_SECRET is not set.")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Secret", {("secretsmanager:GetSecretValue", SECRET + "${DB_SECRET}-??????")}),
        ("Parameter", {("ssm:GetParameters", SSM + "${DB_SECRET}")}),
    ],
)
def test_an_unset_variable_stands_for_its_name(
    kind: str, expected: set[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`${NAME}` is printed in place of the name; a variable with an invalid value is an error."""
    declaration: Any = type(kind, (Unnamed,), {})()
    found = statements([(policy_module._source(declaration), ("sdk",), PLACE)])
    assert _granted({"Statement": found}) == expected
    monkeypatch.setenv("DB_SECRET", "ssm://wrong")
    with pytest.raises(DeclarationError):
        policy_module._source(declaration)


def test_a_variable_names_what_is_granted(run: Run, folder: Path) -> None:
    """`--env` sets the variable; without it, the policy has `${NAME}` and a note.

    Terraform reads `${…}` itself, so it gets a variable of its own there.
    """
    (folder / "named.py").write_text(
        "from lambda_secrets import inject_secrets\n"
        "handler = inject_secrets({'a': 'env:DB_SECRET'})(lambda event, context: 1)\n"
    )
    command = ("policy", "named.handler", *WHERE)
    unset = run(*command)
    assert "secret:${DB_SECRET}-??????" in unset.stdout
    assert "variables are not set here: ${DB_SECRET}. Use --env NAME=VALUE, or" in unset.stderr
    assert "secret:${var.DB_SECRET}-??????" in run(*command, "--format", "terraform").stdout
    granted = _granted(json.loads(run(*command, "--env", "DB_SECRET=prod/x").stdout))
    assert granted == {("secretsmanager:GetSecretValue", f"{SECRET}prod/x-??????")}


@pytest.mark.parametrize("text", ["DB_SECRET", "=x", "A B=x", "A="])
def test_env_takes_a_name_and_a_value(run: Run, text: str) -> None:
    """`--env` takes NAME=VALUE; anything else is wrong use."""
    result = run("policy", "app.forever", *WHERE, "--env", text)
    assert (result.exit_code, "must be NAME=VALUE" in result.stderr) == (2, True)

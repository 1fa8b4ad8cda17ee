"""`lambda-secrets policy`: the least IAM policy that the declarations of handlers need."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from lambda_secrets._sources import Source
from lambda_secrets.backends import AutoBackend, AwsBackend, SdkBackend, backend_name
from lambda_secrets.backends._local import SECRET_REFERENCE
from lambda_secrets.backends._refusals import ACTIONS
from lambda_secrets.cli.failure import Failure, debug_option
from lambda_secrets.cli.target import declared_by, targets_argument
from lambda_secrets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambda_secrets._names import Kind
    from lambda_secrets._secret import Declaration

    Statement = dict[str, Any]

PUBLIC_PARAMETERS = "/aws/service/"

_APPCONFIG_NOTE = (
    "Note: IAM identifies AppConfig's applications, environments and profiles by their ids. "
    "Replace each name by its id."
)
_BATCH_NOTE = (
    "Note: batch=True needs secretsmanager:BatchGetSecretValue too, which IAM grants "
    'on "*" only. It is not in this policy: add it, or read one by one.'
)
_UNSET_NOTE = (
    "Note: these environment variables are not set here: {}. Use --env NAME=VALUE, or replace them "
    "in the policy. A string env:NAME is assumed to name a secret of Secrets Manager."
)
_PATTERNS = {
    "--account": (r"\d{12}", "the 12 digits of an account"),
    "--region": (r"[a-z]{2,4}(-[a-z]+)+-\d+", "a region such as eu-west-1"),
    "--partition": (r"aws(-[a-z]+)*", "a partition such as aws or aws-cn"),
    "--kms-key": (
        r"arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+",
        "the ARN of a key (an alias grants nothing)",
    ),
}
_PARAMETER_ACTIONS = {
    "extension": "ssm:GetParameter",
    "aws": "ssm:GetParameters",
    "sdk": "ssm:GetParameters",
}
_KINDS: dict[str, Kind] = {"Parameter": "parameter", "ParameterTree": "tree"}
_SIDS = {
    "secretsmanager:DescribeSecret": "ReadSecrets",
    "secretsmanager:GetSecretValue": "ReadSecrets",
    "ssm:GetParameter": "ReadParameters",
    "ssm:GetParameters": "ReadParameters",
    "ssm:GetParametersByPath": "ReadParameterTrees",
    "appconfig:StartConfigurationSession": "ReadConfigurations",
    "appconfig:GetLatestConfiguration": "ReadConfigurations",
    "kms:Decrypt": "DecryptValues",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sources live: the parts of an ARN before the name."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """Return an ARN."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


@click.command(
    epilog="Example: lambda-secrets policy app.lambda_handler "
    "--account 123456789012 --region eu-west-1"
)
@targets_argument
@click.option("--account", required=True, metavar="ID", help="The 12 digits of the account.")
@click.option("--region", required=True, metavar="REGION", help="Such as eu-west-1.")
@click.option("--partition", metavar="PARTITION", help="[default: that of the region]")
@click.option(
    "--backend",
    type=click.Choice(["extension", "aws", "sdk", "auto"]),
    help="The backend that reads the values; the actions depend on it. "
    "[default: the handler's own]",
)
@click.option(
    "--agent",
    is_flag=True,
    help="Add secretsmanager:DescribeSecret, which the Secrets Manager Agent needs.",
)
@click.option(
    "--kms-key",
    "kms_keys",
    multiple=True,
    metavar="ARN",
    help="A customer managed key that the values are encrypted with; may be repeated.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of an environment variable that names a secret (env:NAME); may be repeated.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "sam", "terraform"]),
    default="json",
    show_default=True,
)
@debug_option
def policy(
    *,
    targets: tuple[str, ...],
    account: str,
    region: str,
    partition: str | None,
    backend: str | None,
    agent: bool,
    kms_keys: tuple[str, ...],
    variables: tuple[str, ...],
    form: str,
) -> None:
    """Print the least IAM policy that the declared secrets need.

    TARGET is app.lambda_handler, path/to/app.py:lambda_handler, a LiveSecrets, or a whole module
    such as app.
    """
    place = Place(partition or _partition_of(region), region, account)
    given = [("--account", account), ("--region", region), ("--partition", place.partition)]
    for option, text in [*given, *(("--kms-key", key) for key in kms_keys)]:
        _check(option, text)
    for variable in variables:
        name, _, value = variable.partition("=")
        if not (name.isidentifier() and value):
            raise click.UsageError(f"--env {variable!r} must be NAME=VALUE.")
        os.environ[name] = value
    resolvers, notes = declared_by(*targets)
    needs = [
        (source, _readers(backend or backend_name(resolver.backend)), where)
        for resolver in resolvers
        for source in map(_source, resolver.declarations.values())
        for where in _places(resolver.backend, source, place)
    ]
    text = _FORMATS[form](statements(needs, kms_keys, agent=agent))
    if any(source.kind == "appconfig" for source, *_ in needs):
        click.echo(_APPCONFIG_NOTE, err=True)
    backends = [part for resolver in resolvers for part in _parts(resolver.backend)]
    if any(getattr(one, "_batch", False) for one in backends):
        click.echo(_BATCH_NOTE, err=True)
    unset = sorted({source.name for source, *_ in needs if source.name.startswith("${")})
    if unset:
        click.echo(_UNSET_NOTE.format(", ".join(unset)), err=True)
    click.echo(notes, err=True)
    click.echo(text)


def _places(backend: Any, source: Source, place: Place) -> set[Place]:
    """Return where a backend reads: in the regions that it was given, else in the function's."""
    regions = [_region(part, source) for part in _parts(backend)]
    return {replace(place, region=region or place.region) for region in regions}


def _region(backend: Any, source: Source) -> str | None:
    """Return the region that a backend, or its client or session for the source, was given."""
    if isinstance(backend, AwsBackend):
        return backend._region  # noqa: SLF001
    if not isinstance(backend, SdkBackend):
        return None
    return backend._region_of(source) or getattr(backend._given_session, "region_name", None)  # noqa: SLF001


def _parts(backend: Any) -> tuple[Any, ...]:
    """Return a backend, and those that "auto" asks after the extension."""
    behind = backend._behind.values() if isinstance(backend, AutoBackend) else ()  # noqa: SLF001
    return (backend, *behind)


def _source(declaration: Declaration) -> Source:
    """Return the source; the name of one whose environment variable is not set is `${NAME}`."""
    try:
        return declaration.source
    except DeclarationError:
        if os.environ.get(declaration.variable or ""):  # it is set, but does not name a source
            raise
    kind = _KINDS.get(type(declaration).__name__, "secret")
    decrypt = getattr(declaration, "decrypt", True)
    return Source(kind, f"${{{declaration.variable}}}", decrypt=decrypt)


def statements(
    needs: Iterable[tuple[Source, tuple[str, ...], Place]],
    kms_keys: Iterable[str] = (),
    *,
    agent: bool = False,
) -> list[Statement]:
    """Return the statements that let readers ("extension", "sdk") read sources in their places."""
    resources: defaultdict[str, set[str]] = defaultdict(set)
    for source, readers, place in needs:
        for action, resource in _grants(source, readers, place):
            resources[action].add(resource)
        if source.decrypt is not False:
            resources["kms:Decrypt"].update(kms_keys)
    if agent:
        resources["secretsmanager:DescribeSecret"] = resources[ACTIONS["secret"]]
    shared: defaultdict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for action, arns in resources.items():
        if arns:
            shared[_SIDS[action], tuple(sorted(arns))].append(action)
    order = list(_SIDS.values())
    numbers: Counter[str] = Counter()
    found: list[Statement] = []
    for key in sorted(shared, key=lambda key: order.index(key[0])):
        sid, granted = key
        numbers[sid] += 1  # each Sid must be unique
        sid += str(numbers[sid]) if numbers[sid] > 1 else ""
        actions = sorted(shared[key])
        found.append({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": list(granted)})
    return found


def _grants(source: Source, readers: tuple[str, ...], place: Place) -> Iterator[tuple[str, str]]:
    """Yield each action with the resource to allow it on."""
    if "*" in source.name or "?" in source.name:
        message = f"Cannot write a policy for {source}: IAM reads its name as a pattern."
        raise Failure(message)
    if source.kind == "secret":
        yield ACTIONS["secret"], _secret(source.name, place)
    elif source.kind == "parameter":
        for reader in readers:
            yield _PARAMETER_ACTIONS[reader], _parameter(source.name, place)
        if source.name.startswith(SECRET_REFERENCE):
            name = source.name.removeprefix(SECRET_REFERENCE)
            yield ACTIONS["secret"], _secret(name, place)
    elif source.kind == "tree":
        if readers == ("extension",):
            message = f"The extension cannot read {source}. Use --backend aws, sdk or auto."
            raise Failure(message)
        # Which of the two IAM compares is not documented.
        for path in (source.name, source.name.rstrip("/")):
            yield "ssm:GetParametersByPath", _parameter(path, place)
    else:
        application, environment, profile = source.parts
        names = f"application/{application}/environment/{environment}/configuration/{profile}"
        for action in ACTIONS["appconfig"].split(" and "):
            yield action, place.arn("appconfig", names)


def _secret(name: str, place: Place) -> str:
    """Return the ARN, with wildcards for the six random characters that end it, if unknown."""
    arn = name if name.startswith("arn:") else place.arn("secretsmanager", f"secret:{name}")
    whole = arn == name and re.fullmatch(r".*-[A-Za-z0-9]{6}", arn)
    return arn if whole else f"{arn}-??????"


def _parameter(name: str, place: Place) -> str:
    if name.startswith("arn:"):
        return name
    if name.startswith(PUBLIC_PARAMETERS):
        place = replace(place, account="")
    return place.arn("ssm", f"parameter/{name.removeprefix('/')}")


def _readers(backend: str) -> tuple[str, ...]:
    """Return the readers behind a backend: itself if it is one of them, else all."""
    return (backend,) if backend in _PARAMETER_ACTIONS else tuple(_PARAMETER_ACTIONS)


def _partition_of(region: str) -> str:
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    return next((prefixes[p] for p in prefixes if region.startswith(p)), "aws")


def _check(option: str, text: str) -> None:
    pattern, what = _PATTERNS[option]
    if not re.fullmatch(pattern, text, re.ASCII):
        raise click.UsageError(f"{option} {text!r} must be {what}.")


def _json(found: list[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": found}, indent=2)


def _sam(found: list[Statement]) -> str:
    """Return the property of an AWS::Serverless::Function, as YAML."""
    lines = ["Policies:", '  - Version: "2012-10-17"', "    Statement:"]
    for statement in found:
        lines += [f"      - Sid: {statement['Sid']}", "        Effect: Allow"]
        for member in ("Action", "Resource"):
            lines.append(f"        {member}:")
            lines += [f"          - {json.dumps(text)}" for text in statement[member]]
    return "\n".join(lines)


def _terraform(found: list[Statement]) -> str:
    """Return a data source of the AWS provider; an unset variable is one of Terraform's there."""
    lines = ['data "aws_iam_policy_document" "lambda_secrets" {']
    for statement in found:
        lines += ["  statement {", f"    sid       = {json.dumps(statement['Sid'])}"]
        lines.append(f"    actions   = {json.dumps(statement['Action'])}")
        resources = json.dumps(statement["Resource"]).replace("${", "${var.")
        lines += [f"    resources = {resources}", "  }"]
    return "\n".join([*lines, "}"])


_FORMATS = {"json": _json, "sam": _sam, "terraform": _terraform}

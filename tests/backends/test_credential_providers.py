"""Temporary credentials of each kind that boto3 finds, each in a process of its own.

The Secrets Manager here checks that each request is signed with credentials that were issued. The
issuer is moto's STS, or a stand-in on loopback.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore
import pytest
from botocore.exceptions import ClientError, PartialCredentialsError

from lambda_secrets import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
)
from lambda_secrets._explain import kind_of
from lambda_secrets.backends._refusals import by_boto3
from lambda_secrets.backends._states import UnaskedError
from tests.support import canary, faults
from tests.support.aws_endpoint import refused
from tests.support.credential_services import (
    CredentialServices,
    Keys,
    denied,
    refused_by_sts,
)
from tests.support.faults import refusing_port

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tests.support.moto_server import MotoServer

ROOT = Path(__file__).parents[2]
ROLE = "arn:aws:iam::123456789012:role/reader"
OLD = botocore.__version__ < "1.35"
START_URL = "https://example.awsapps.com/start"
SOURCE = Keys("AKIA-SOURCE", f"{canary.TOKEN}/key/source", "")

CHILD = """
import json, logging, os, sys

from lambda_secrets import AutoBackend, AwsBackend, ResolutionError, SdkBackend, Secret
from lambda_secrets import clear_cache, resolve_secrets
from lambda_secrets._explain import kind_of
from tests.support.canary import leaks, watched_logs

lines = []

class Lines(logging.Handler):
    def emit(self, record):
        lines.append(self.format(record) + repr(vars(record)))

def outcome(backend):
    clear_cache()
    try:
        wanted = {"it": Secret("prod/key", **options)}
        value = resolve_secrets(wanted, backend=backend, timeout=timeout).it
    except ResolutionError as error:
        return [kind_of(error).__name__, str(error), leaks(error)]
    return ["value", value, []]

backends, options, timeout = json.loads(sys.argv[1])
made = {"sdk": SdkBackend, "aws": lambda: "aws", "auto": lambda: "auto"}
with watched_logs() as watch:
    logging.getLogger().addHandler(Lines(1))
    kept = {name: made[name]() for name in dict.fromkeys(backends)}
    outcomes = [outcome(kept[name]) for name in backends]
print(json.dumps([outcomes, lines, watch.leaks]))
"""


class Outcome(NamedTuple):
    """The outcome of a read: "value" and the value, or the name of our error and its text."""

    kind: str
    text: str


READ = Outcome("value", canary.TEXT)


class Machine:
    """A home directory and an environment that start without credentials."""

    def __init__(self, home: Path, services: CredentialServices, extension_port: int) -> None:
        """Point boto3 at the services."""
        self.home, self.services = home, services
        self.environment = {
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": services.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(extension_port),
        }
        self.log: list[str] = []

    def profile(self, *lines: str, more: str = "") -> None:
        """Write the profile "dev", and select it."""
        self.environment["AWS_PROFILE"] = "dev"
        config = "\n".join(["[profile dev]", *lines, more, ""])
        (self.home / "config").write_text(config)

    def file(self, name: str, content: str) -> Path:
        """Write a file below the home directory."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def read(self, *backends: str, timeout: float = 30, **options: Any) -> list[Outcome]:
        """Read the secret in a new process through these backends, one after the other.

        Fail if a log record of any level, or an error, shows or holds a secret, key or token.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LAMBDA_"))}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps([backends, options, timeout])],
            env={**inherited, **self.environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcomes, self.log, leaked = json.loads(done.stdout)
        assert leaked == []
        assert [leaks for _, _, leaks in outcomes] == [[] for _ in backends]
        texts = [text for kind, text, _ in outcomes if kind != "value"]
        shown = "\n".join([*self.log, *texts, done.stderr])
        assert not canary.is_in(shown)
        for keys in self.services.known.values():
            assert keys.secret not in shown
            assert not keys.token or keys.token not in shown
        return [Outcome(kind, text) for kind, text, _ in outcomes]


@pytest.fixture
def services(moto_process: MotoServer) -> Iterator[CredentialServices]:
    """Run services that issue credentials, and serve the secret to requests signed with them."""
    with CredentialServices(moto_process.url) as running:
        yield running
    moto_process.reset()


@pytest.fixture
def machine(tmp_path: Path, services: CredentialServices) -> Iterator[Machine]:
    """Return a machine without a running extension."""
    with refusing_port() as port:
        yield Machine(tmp_path, services, port)


def assumed_role(machine: Machine) -> None:
    """Let the profile assume a role with another profile's long-lived keys."""
    machine.profile(f"role_arn = {ROLE}", "source_profile = source")
    keys = f"aws_access_key_id = {SOURCE.identity}\naws_secret_access_key = {SOURCE.secret}\n"
    machine.file("credentials", f"[source]\n{keys}")


def web_identity(machine: Machine) -> None:
    """Let a token in a file grant a role, as in a Kubernetes pod."""
    token = machine.file("token", f"{canary.TOKEN}/jwt")
    machine.environment["AWS_ROLE_ARN"] = ROLE
    machine.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(token)


def sso_login(machine: Machine, key: str, *, left: float = 8, **more: str) -> None:
    """Write the file that `aws sso login` writes, valid for `left` hours."""
    machine.services.bearer = f"{canary.TOKEN}/sso"
    login = {
        "startUrl": START_URL,
        "region": "eu-west-1",
        "accessToken": machine.services.bearer,
        "expiresAt": in_hours(left),
        **more,
    }
    machine.file(sso_file(key), json.dumps(login))


def sso_file(key: str) -> str:
    """Return the path of the login for a start URL or an SSO session."""
    return f".aws/sso/cache/{hashlib.sha1(key.encode()).hexdigest()}.json"  # noqa: S324 - AWS's way


def in_hours(hours: float) -> str:
    """Return the time so many hours from now, as the AWS CLI writes it."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def sso_legacy(machine: Machine, **login: Any) -> None:
    """Let the profile name the start URL itself."""
    machine.profile(
        f"sso_start_url = {START_URL}",
        "sso_region = eu-west-1",
        "sso_account_id = 123456789012",
        "sso_role_name = reader",
    )
    sso_login(machine, START_URL, **login)


def sso_session(machine: Machine, **login: Any) -> None:
    """Let the profile name an sso-session."""
    machine.profile(
        "sso_session = work",
        "sso_account_id = 123456789012",
        "sso_role_name = reader",
        more=f"[sso-session work]\nsso_start_url = {START_URL}\nsso_region = eu-west-1",
    )
    sso_login(machine, "work", **login)


def process(machine: Machine) -> None:
    """Let a program hand out credentials."""
    keys = machine.services.issue("ASIA-PROCESS")
    path = machine.file("answer.json", json.dumps({"Version": 1, **keys.fields()}))
    machine.profile(f"credential_process = cat {path}")


def instance_metadata(machine: Machine) -> None:
    """Let the instance have a role."""
    machine.environment["AWS_EC2_METADATA_DISABLED"] = "false"
    machine.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"{machine.services.url}/"


def container(machine: Machine) -> None:
    """Let the container have a role."""
    machine.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{machine.services.url}/container"
    machine.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = f"{canary.TOKEN}/container"


SSO_READER = "ASIA-SSO-reader-123456789012"
PROVIDERS: dict[str, tuple[Callable[[Machine], None], list[str], str]] = {
    "assumed role": (assumed_role, ["AssumeRole"], "ASIA"),
    "web identity": (web_identity, ["AssumeRoleWithWebIdentity"], "ASIA"),
    "SSO, start URL": (sso_legacy, ["GetRoleCredentials"], SSO_READER),
    "SSO, session": (sso_session, ["GetRoleCredentials"], SSO_READER),
    "credential_process": (process, [], "ASIA-PROCESS"),
    "instance metadata": (
        instance_metadata,
        ["metadata token", "metadata", "metadata"],
        "ASIA-IMDS-instance-role",
    ),
    "container": (container, ["container"], "ASIA-CONTAINER"),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_boto3_reads_with_the_credentials_it_was_handed(machine: Machine, provider: str) -> None:
    """Outside Lambda both `SdkBackend()` and "auto" sign with temporary credentials."""
    prepare, asked, reader = PROVIDERS[provider]
    prepare(machine)
    assert machine.read("sdk", "auto") == [READ, READ]
    services = machine.services
    assert services.asked == 2 * asked
    assert len(services.readers) == 2
    for identity, agent in services.readers:
        assert identity in services.known
        assert identity.startswith(reader)
        assert "Boto3/" in agent
        assert "lib/lambda-secrets" in agent


@pytest.mark.parametrize("provider", sorted(PROVIDERS.keys() - {"container"}))
def test_in_lambda_auto_goes_on_to_boto3(machine: Machine, provider: str) -> None:
    """In Lambda, "aws" says that "sdk" is needed, and "auto" falls back to it by itself."""
    prepare, asked, reader = PROVIDERS[provider]
    prepare(machine)
    machine.environment["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:1"
    alone, auto = machine.read("aws", "auto")
    assert alone.kind == "BackendError"
    assert 'use backend="sdk"' in alone.text
    assert auto == READ
    services = machine.services
    assert services.asked == asked
    ((identity, agent),) = services.readers
    assert identity.startswith(reader)
    assert "Boto3/" in agent


def test_a_container_in_lambda_needs_no_boto3(machine: Machine) -> None:
    """In Lambda, "aws" asks the container endpoint itself, and signs with its credentials."""
    container(machine)
    machine.environment["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:1"
    assert machine.read("aws", "auto") == [READ, READ]
    assert [identity for identity, _ in machine.services.readers] == ["ASIA-CONTAINER"] * 2
    assert all(agent.startswith("lambda_secrets/") for _, agent in machine.services.readers)


def test_the_secret_is_for_credentials_that_were_handed_out(machine: Machine) -> None:
    """Unknown keys and a wrong secret key are refused here; known keys are accepted."""
    machine.environment["AWS_ACCESS_KEY_ID"] = SOURCE.identity
    machine.environment["AWS_SECRET_ACCESS_KEY"] = SOURCE.secret
    outcomes = machine.read("sdk", "aws")
    assert [outcome.kind for outcome in outcomes] == ["BackendError"] * 2
    assert all("does not accept these credentials" in outcome.text for outcome in outcomes)
    machine.services.known[SOURCE.identity] = SOURCE._replace(secret="another")
    outcomes = machine.read("sdk", "aws")
    assert [outcome.kind for outcome in outcomes] == ["BackendError"] * 2
    machine.services.known[SOURCE.identity] = SOURCE
    assert machine.read("sdk", "aws") == [READ, READ]


@pytest.mark.parametrize("provider", ["SSO, start URL", "SSO, session", "container"])
def test_expiring_credentials_are_renewed(machine: Machine, provider: str) -> None:
    """Credentials that expire while the process lives are renewed before a read."""
    prepare, asked, reader = PROVIDERS[provider]
    prepare(machine)
    machine.services.lifetime = 60
    assert machine.read("sdk", "sdk") == [READ, READ]
    assert machine.services.asked > asked
    assert set(machine.services.asked) == set(asked)
    assert [identity for identity, _ in machine.services.readers] == [reader] * 2


# Failures of a provider


@pytest.mark.parametrize("in_lambda", [False, True])
@pytest.mark.parametrize(
    ("prepare", "operation"),
    [(assumed_role, "AssumeRole"), (web_identity, "AssumeRoleWithWebIdentity")],
)
def test_a_role_that_may_not_be_assumed_is_denied(
    machine: Machine, prepare: Callable[[Machine], None], operation: str, *, in_lambda: bool
) -> None:
    """The advice is about the role's trust policy, not about reading the secret."""
    prepare(machine)
    if in_lambda:
        machine.environment["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:1"
    machine.services.refusal = denied(operation)
    # A default does not replace a denial.
    for outcome in machine.read("sdk", "auto", default="default"):
        assert outcome.kind == "AccessDeniedError"
        assert f"sts:{operation} on resource: {ROLE}" in outcome.text
        assert "trust policy" in outcome.text
        assert "GetSecretValue" not in outcome.text
    assert machine.services.asked == [operation] * 2
    assert machine.services.readers == []


@pytest.mark.parametrize("code", ["ForbiddenException", "ResourceNotFoundException"])
def test_an_sso_role_that_is_gone_is_not_a_missing_secret(machine: Machine, code: str) -> None:
    """The portal's refusal does not mean that the secret is missing: no default is used."""
    sso_legacy(machine)
    machine.services.refusal = refused(code, "No access", 403 if code[0] == "F" else 404)
    (outcome,) = machine.read("sdk", default="default")
    assert outcome.kind == ("AccessDeniedError" if code[0] == "F" else "BackendError")
    assert code in outcome.text
    assert "GetRoleCredentials" in outcome.text


def expired(machine: Machine, prepare: Callable[..., None]) -> None:
    """Let the login have expired an hour ago."""
    prepare(machine, left=-1)


def revoked(machine: Machine, prepare: Callable[..., None]) -> None:
    """Let the login look valid, but be refused by the portal."""
    prepare(machine)
    machine.services.bearer = "another"


def absent(machine: Machine, prepare: Callable[..., None]) -> None:
    """Remove the login."""
    prepare(machine)
    for key in (START_URL, "work"):
        (machine.home / sso_file(key)).unlink(missing_ok=True)


def not_refreshed(machine: Machine, prepare: Callable[..., None]) -> None:
    """Let the login have expired, and its refresh token be refused."""
    prepare(machine, left=-1, **REFRESHABLE)
    machine.services.refusal = refused("InvalidGrantException", "Invalid refresh token provided")


REFRESHABLE = {
    "clientId": "client",
    "clientSecret": f"{canary.TOKEN}/client",
    "refreshToken": f"{canary.TOKEN}/refresh",
    "registrationExpiresAt": in_hours(24),
}


@pytest.mark.parametrize("prepare", [sso_legacy, sso_session])
@pytest.mark.parametrize("fail", [expired, revoked, absent, not_refreshed])
def test_an_sso_login_that_does_not_work_says_how_to_log_in(
    machine: Machine, fail: Callable[..., None], prepare: Callable[..., None]
) -> None:
    """Whatever is wrong with the login, "sdk" and "auto" say how to log in."""
    if OLD and (fail, prepare) == (expired, sso_legacy):
        pytest.skip("this botocore sends a token that is too old, and the portal here takes it")
    fail(machine, prepare)
    for outcome in machine.read("sdk", "auto"):
        assert outcome.kind == "BackendError"
        # An older botocore lets the portal refuse the token of a start URL.
        assert "Run: aws sso login" in outcome.text or (OLD and "sign in again" in outcome.text)
    assert machine.services.readers == []


def test_an_expired_sso_login_is_told_in_lambda_too(machine: Machine) -> None:
    """If neither "aws" nor boto3 can ask AWS, "auto" says what each of them lacks."""
    expired(machine, sso_session)
    machine.environment["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:1"
    (outcome,) = machine.read("auto")
    assert outcome.kind == "BackendError"
    assert 'use backend="sdk"' in outcome.text
    assert "Run: aws sso login" in outcome.text


def test_an_sso_session_refreshes_its_login(machine: Machine) -> None:
    """boto3 renews a login with its refresh token, and saves it for the next process."""
    sso_session(machine, left=-1, **REFRESHABLE)
    assert machine.read("sdk", "auto") == [READ, READ]
    assert machine.services.asked == ["CreateToken", "GetRoleCredentials", "GetRoleCredentials"]
    assert {identity for identity, _ in machine.services.readers} == {SSO_READER}
    kept = json.loads((machine.home / sso_file("work")).read_text())
    assert kept["accessToken"] == machine.services.bearer


def test_a_credential_process_that_fails_shows_nothing_of_it(machine: Machine) -> None:
    """The error does not quote the program's stderr, which may hold anything."""
    script = machine.file("fails.sh", f"echo {canary.TOKEN} >&2\nexit 1\n")
    machine.profile(f"credential_process = sh {script}")
    (outcome,) = machine.read("sdk", timeout=4)  # it is retried until then
    assert outcome.kind == "BackendUnavailableError"
    assert "could not get its credentials" in outcome.text
    assert "credential_process" in outcome.text


def test_a_failure_of_a_provider_that_passes_is_not_noticed(machine: Machine) -> None:
    """A request to an overloaded STS, or a failed credential process, is retried."""

    def once(connection: socket.socket) -> bool:
        machine.services.refusal = None
        return faults.answer("", 503)(connection)

    machine.environment["AWS_MAX_ATTEMPTS"] = "1"  # boto3 itself tries once
    web_identity(machine)
    machine.services.refusal = once
    assert machine.read("sdk") == [READ]
    assert machine.services.asked == ["AssumeRoleWithWebIdentity"] * 2
    del machine.environment["AWS_WEB_IDENTITY_TOKEN_FILE"]
    process(machine)
    script = "mkdir tried 2>/dev/null && exit 1\ncat answer.json\n"
    machine.profile(f"credential_process = sh {machine.file('fails_once.sh', script)}")
    assert machine.read("sdk") == [READ]
    assert (machine.home / "tried").is_dir()


def test_a_credential_process_that_answers_nonsense_shows_nothing_of_it(machine: Machine) -> None:
    """The error does not quote output that is not JSON."""
    path = machine.file("answer.json", f"{{{canary.TOKEN}")
    machine.profile(f"credential_process = cat {path}")
    for outcome in machine.read("sdk", "auto"):
        assert outcome.kind == "BackendError"
        assert "AWS_PROFILE" in outcome.text


def test_a_file_that_is_missing_is_not_a_matter_of_the_network(machine: Machine) -> None:
    """A missing program or token file is not a transient error."""
    machine.profile("credential_process = /nowhere/program")
    for outcome in machine.read("sdk", "auto"):
        assert outcome.kind == "BackendError"
        assert "credential_process" in outcome.text
    del machine.environment["AWS_PROFILE"]
    web_identity(machine)
    machine.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = "/nowhere/token"
    for outcome in machine.read("sdk", "auto"):
        assert outcome.kind == "BackendError"
        assert "AWS_WEB_IDENTITY_TOKEN_FILE" in outcome.text


def test_a_token_that_sts_does_not_take_is_told(machine: Machine) -> None:
    """The error for an expired web identity says to sign in again, and shows no token."""
    web_identity(machine)
    machine.services.refusal = refused_by_sts("ExpiredTokenException", "Token expired", 400)
    (outcome,) = machine.read("sdk")
    assert outcome.kind == "BackendError"
    assert "ExpiredTokenException" in outcome.text
    assert "sign in again" in outcome.text


@pytest.mark.parametrize(
    ("code", "status", "expected", "says"),
    [
        ("AccessDenied", 403, AccessDeniedError, "trust policy"),
        ("ForbiddenException", 403, AccessDeniedError, "trust policy"),
        ("ThrottlingException", 400, BackendUnavailableError, "Try again"),
        ("IDPCommunicationError", 400, BackendUnavailableError, "Try again"),
        ("InternalFailure", 500, BackendUnavailableError, "Try again"),
        ("", 503, BackendUnavailableError, "HTTP 503"),
        ("ResourceNotFoundException", 404, BackendError, "Check the profile"),
        ("InvalidIdentityToken", 400, BackendError, "Check the profile"),
        ("ExpiredToken", 403, BackendError, "sign in again"),
        ("hunter2 hunter2", 400, BackendError, "HTTP 400"),
    ],
)
def test_each_refusal_of_credentials_has_its_error(
    code: str, status: int, expected: type[ResolutionError], says: str
) -> None:
    """A refusal of boto3's own request for credentials is never blamed on the secret."""
    answer: Any = {
        "Error": {"Code": code, "Message": "it says"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error = by_boto3(ClientError(answer, "AssumeRole"), "secret")
    assert kind_of(error) is expected
    assert says in str(error)
    assert "AssumeRole" in str(error)
    assert "hunter2" not in str(error)
    assert ("it says" in str(error)) is (expected is AccessDeniedError)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        # Older versions of botocore do not have this class.
        (type("LoginRefreshRequired", (Exception,), {})(), "Run: aws login"),
        (
            PartialCredentialsError(provider="assume-role", cred_var="source_profile"),
            "source_profile",
        ),
        (PermissionError("hunter2"), "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ],
)
def test_what_a_provider_lacks_is_told(error: Exception, says: str) -> None:
    """An `UnaskedError` names what boto3 lacks to ask AWS, and quotes no message."""
    ours = by_boto3(error, "secret")
    assert isinstance(ours, UnaskedError)
    assert says in str(ours)
    assert "hunter2" not in str(ours)

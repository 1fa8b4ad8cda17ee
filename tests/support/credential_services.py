"""Services that issue temporary credentials, and a Secrets Manager that accepts only those.

STS is moto's own; the SSO portal, its OIDC service, instance metadata and a container's endpoint
are stand-ins. One port serves them all: `AWS_ENDPOINT_URL` points every boto3 client to it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support import canary, faults
from tests.support.aws_endpoint import refused, secret
from tests.support.faults import FaultServer, Request
from tests.support.tls import body_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.faults import Action

IN_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
)


class Keys(NamedTuple):
    """Temporary credentials, whose secret parts are canaries unless moto made them."""

    identity: str
    secret: str
    token: str

    @classmethod
    def made_up(cls, identity: str) -> Keys:
        """Return credentials with this access key id."""
        return cls(identity, f"{canary.TOKEN}/key/{identity}", f"{canary.TOKEN}/token/{identity}")

    def fields(self, token: str = "SessionToken", *, lifetime: float = 3600) -> dict[str, str]:
        """Return the credentials in the format of processes and metadata services."""
        expires = dt.datetime.fromtimestamp(time.time() + lifetime, dt.UTC)
        return {
            "AccessKeyId": self.identity,
            "SecretAccessKey": self.secret,
            token: self.token,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


class CredentialServices(FaultServer):
    """Issues credentials, and returns a secret only to requests signed with known ones."""

    def __init__(self, sts: str) -> None:
        """Leave STS to the server at this URL."""
        super().__init__(self._choose)
        self.sts = sts
        self.known: dict[str, Keys] = {}
        self.bearer = ""  # the SSO token that the portal accepts
        self.lifetime = 3600.0  # seconds for which credentials are issued
        self.refusal: Action | None = None  # the answer instead of credentials
        self.asked: list[str] = []  # operations that asked for credentials
        self.readers: list[tuple[str, str]] = []  # access key ids and user agents

    @property
    def url(self) -> str:
        """The URL that all clients use."""
        return f"http://127.0.0.1:{self.port}"

    def issue(self, identity: str) -> Keys:
        """Return new credentials, which are known from now on."""
        keys = self.known[identity] = Keys.made_up(identity)
        return keys

    def _choose(self, request: Request) -> Action:
        if request.headers.get("x-amz-target") == "secretsmanager.GetSecretValue":
            return self._read(request)
        for operation, marks, reply in self._issuers():
            if request.path.startswith(marks) or body_of(request).startswith(marks.encode()):
                self.asked.append(operation)
                return self.refusal or reply(request)
        raise AssertionError(request.target)

    def _issuers(self) -> tuple[tuple[str, str, Callable[[Request], Action]], ...]:
        return (
            ("AssumeRoleWithWebIdentity", "Action=AssumeRoleWithWebIdentity", self._assume),
            ("AssumeRole", "Action=AssumeRole", self._assume),
            ("GetRoleCredentials", "/federation/credentials", self._role_credentials),
            ("CreateToken", "/token", self._create_token),
            ("metadata token", "/latest/api/token", lambda _: faults.answer("metadata-token")),
            ("metadata", "/latest/meta-data/iam/security-credentials/", self._metadata),
            ("container", "/container", self._container),
        )

    def _read(self, request: Request) -> Action:
        """Answer with the secret if the signature is right."""
        identity = signer_of(request, self.known)
        if not identity:
            return refused("UnrecognizedClientException", "it is not known")
        self.readers.append((identity, request.headers["user-agent"]))
        return faults.answer(json.dumps(secret("prod/key", canary.TEXT)))

    def _assume(self, request: Request) -> Action:
        """Let moto assume the role, and remember the credentials that it made."""
        kept = ("authorization", "content-type", "x-amz-date", "x-amz-security-token")
        headers = {name: text for name, text in request.headers.items() if name in kept}
        asked = urllib.request.Request(self.sts, body_of(request), headers)  # noqa: S310 - moto's
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            body = answer.read().decode()
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        keys = Keys(*(body.partition(f"<{name}>")[2].partition("<")[0] for name in names))
        assert all(keys)
        self.known[keys.identity] = keys
        return faults.send(faults.message(body, headers={"Content-Type": "text/xml"}))

    def _role_credentials(self, request: Request) -> Action:
        """Answer as the SSO portal does."""
        if request.headers.get("x-amz-sso_bearer_token") != self.bearer:
            return refused("UnauthorizedException", "Session token not found or invalid", 401)
        asked = request.query
        keys = self.issue(f"ASIA-SSO-{asked['role_name']}-{asked['account_id']}")
        reply = {
            "accessKeyId": keys.identity,
            "secretAccessKey": keys.secret,
            "sessionToken": keys.token,
            "expiration": int((time.time() + self.lifetime) * 1000),
        }
        return faults.answer(json.dumps({"roleCredentials": reply}))

    def _create_token(self, request: Request) -> Action:
        """Answer as SSO's OIDC service does to a refresh token."""
        asked = json.loads(body_of(request))
        assert asked["grantType"] == "refresh_token"
        self.bearer = f"{asked['refreshToken']}/refreshed"
        return faults.answer(json.dumps({"accessToken": self.bearer, "expiresIn": 3600}))

    def _metadata(self, request: Request) -> Action:
        """Answer as version 2 of the instance metadata service does."""
        assert request.headers["x-aws-ec2-metadata-token"] == "metadata-token"
        role = request.path.rpartition("/")[2]
        if not role:
            return faults.answer("instance-role")
        fields = self.issue(f"ASIA-IMDS-{role}").fields("Token", lifetime=self.lifetime)
        return faults.answer(json.dumps({"Code": "Success", **fields}))

    def _container(self, request: Request) -> Action:
        """Answer as a container's credential endpoint does, such as that of EKS."""
        assert request.headers["authorization"] == f"{canary.TOKEN}/container"
        fields = self.issue("ASIA-CONTAINER").fields("Token", lifetime=self.lifetime)
        return faults.answer(json.dumps(fields))


def signer_of(request: Request, known: dict[str, Keys]) -> str:
    """Return the access key id that signed a request, or "" if the signature is wrong."""
    headers = request.headers
    found = IN_HEADER.fullmatch(headers.get("authorization", ""))
    if found is None or found[1] not in known:
        return ""
    keys = known[found[1]]
    names = found[4].split(";")
    assert headers.get("x-amz-security-token", "") == keys.token
    rebuilt: Any = AWSRequest(
        method="POST",
        url=f"http://{headers['host']}{request.target}",
        headers={name: headers[name] for name in names},
        data=body_of(request),
    )
    rebuilt.context["timestamp"] = headers["x-amz-date"]
    credentials = Credentials(keys.identity, keys.secret, keys.token or None)
    signer: Any = SigV4Auth(credentials, found[3], found[2])
    text = signer.string_to_sign(rebuilt, signer.canonical_request(rebuilt))
    return keys.identity if signer.signature(text, rebuilt) == found[5] else ""


def denied(operation: str) -> Action:
    """Answer as STS does if the role's trust policy does not name the caller."""
    message = (
        "User: arn:aws:iam::123456789012:user/me is not authorized to perform: "
        f"sts:{operation} on resource: arn:aws:iam::123456789012:role/reader"
    )
    return refused_by_sts("AccessDenied", message, 403)


def refused_by_sts(code: str, message: str, status: int) -> Action:
    """Answer with an error in XML, the format of STS."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
    return faults.send(faults.message(body, status, {"Content-Type": "text/xml"}))

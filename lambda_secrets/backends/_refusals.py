"""Our errors for each way in which AWS or boto3 refuses, or does not answer.

The codes are those of Secrets Manager, Parameter Store, AppConfig and of AWS in general:
https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html.
"""

from __future__ import annotations

import json
import time

from .._values import opaque
from ..errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)
from ._endpoints import SERVICES, endpoint_at, endpoint_of
from ._faults import Fault
from ._states import ExpiredError, UnaskedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from .._sources import Source
    from ._types import Outcome

    Meaning: TypeAlias = tuple[type[ResolutionError], str]

ACTIONS = {
    "secret": "secretsmanager:GetSecretValue",
    "parameter": "ssm:GetParameters",
    "tree": "ssm:GetParametersByPath",
    "appconfig": "appconfig:StartConfigurationSession and appconfig:GetLatestConfiguration",
}
_AGAIN = "Try again."
_CLOCK = "the machine's clock is off, or the request was frozen on its way. Try again."
OF_THE_CLOCK = ("signature expired", "signature not yet current")


def _by_name(meanings: dict[type[ResolutionError], dict[str, str]]) -> dict[str, Meaning]:
    """Return our class and the advice to give by name; ``meanings`` has the names by these."""
    return {
        name: (our, advice)
        for our, names_by_advice in meanings.items()
        for advice, names in names_by_advice.items()
        for name in names.split()
    }


CODES = _by_name(
    {
        SecretNotFoundError: {
            "there is no such {kind} or version, or it has no value yet. Check the name and the "
            "region.": """ParameterNotFound ParameterVersionLabelNotFound ParameterVersionNotFound
            ResourceNotFoundException""",
        },
        BackendUnavailableError: {
            _AGAIN: """IDPCommunicationError
            InternalError InternalFailure InternalServerError InternalServerException
            InternalServiceError InternalServiceErrorException LimitExceededException
            PriorRequestNotComplete RequestLimitExceeded RequestThrottled RequestThrottledException
            RequestTimeout RequestTimeoutException ServiceUnavailable ServiceUnavailableException
            SlowDown ThrottledException Throttling ThrottlingException TooManyRequestsException""",
            _CLOCK: "RequestExpired RequestInTheFuture RequestTimeTooSkewed",
            # The agent's own codes for failing to reach AWS.
            "the agent cannot reach AWS. Try again.": "ConnectionError",
            "AWS did not answer the agent in time. Try again.": "TimeoutError",
        },
        ExpiredError: {
            "the credentials have expired. Renew them (for SSO: aws sso login); an agent may need "
            "to be restarted.": "ExpiredToken ExpiredTokenException",
        },
        BackendError: {
            "its KMS key cannot decrypt it. Check whether the KMS key exists and is enabled.": (
                "DecryptionFailure InvalidKeyId"
            ),
            "it does not accept these credentials. Check where they come from.": (
                """IncompleteSignature InvalidClientTokenId InvalidSignatureException
            MissingAuthenticationToken MissingAuthenticationTokenException SignatureDoesNotMatch
            UnrecognizedClientException"""
            ),
            "the name, version or label is not valid. Check how it is written.": (
                "BadRequestException InvalidParameterException ValidationError ValidationException"
            ),
            "the secret may be scheduled for deletion. Restore it, or declare another one.": (
                "InvalidRequestException"
            ),
        },
    }
)
_UNREACHED = (
    "AWS cannot be reached at {host}: %s. Check the network path to it (in a VPC: a NAT gateway or "
    "an endpoint), or raise timeout."
)
_FAULTS = _by_name(
    {
        BackendUnavailableError: {
            _UNREACHED % "its name cannot be resolved; the region may be mistyped": "unresolved",
            _UNREACHED % "the connection was refused": "refused",
            _UNREACHED % "the connection was closed without an answer": "reset",
            _UNREACHED % "the answer is cut off": "truncated",
            _UNREACHED % "there was no answer in time": "timeout",
            "{host} cannot be reached through the proxy: {detail}. Check HTTPS_PROXY, or add the "
            "host to NO_PROXY.": "proxy",
        },
        UnaskedError: {  # boto3 may be able to use it
            "HTTPS_PROXY is not an http:// URL. Set it to one, add {host} to NO_PROXY, or use "
            'backend="sdk".': "proxy-url",
        },
        BackendError: {
            "the certificate of {host} cannot be verified ({detail}). If a proxy of yours signs "
            "it, set AWS_CA_BUNDLE to a file with its root certificate.": "untrusted",
            "AWS_CA_BUNDLE cannot be read, or holds no certificate. Set it to a file of "
            "certificates in PEM, or unset it to use the machine's own.": "trust",
            "the TLS handshake with {host} failed ({detail}). Check AWS_ENDPOINT_URL, "
            "AWS_CA_BUNDLE and the proxy, if you set them.": "tls",
            "the answer of {host} is not HTTP. Check whether a proxy is in between.": "malformed",
        },
    }
)
# The operations by which boto3 gets temporary credentials.
_FOR_CREDENTIALS = (
    *("AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials"),
    *("CreateToken", "CreateOAuth2Token"),
)
# By class name: not every version of boto3 has every class.
_EXCEPTIONS = _by_name(
    {
        UnaskedError: {
            "boto3 cannot use a file or a program that it needs for its credentials ({name}). "
            "Check AWS_WEB_IDENTITY_TOKEN_FILE, or the profile's credential_process.": (
                "FileNotFoundError PermissionError"
            ),
            "boto3 cannot be imported ({name}). Install lambda-secrets[sdk], or use "
            'backend="aws" or the extension.': "ImportError",
            "there is no login, or it has expired. Run: aws login.": (
                "LoginRefreshRequired LoginTokenLoadError"
            ),
            "there is no SSO login, or it has expired. Run: aws sso login.": (
                "SSOTokenLoadError TokenRetrievalError UnauthorizedSSOTokenError"
            ),
            "boto3 finds no credentials. Run with the function's role, or set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or a profile in AWS_PROFILE. In a unit test use "
            "override_secrets.": "NoCredentialsError",
            "boto3 finds no region. Set AWS_REGION. In a unit test use override_secrets.": (
                "NoRegionError"
            ),
            "the credentials that boto3 finds are incomplete. Set both keys, and source_profile "
            "beside role_arn.": "PartialCredentialsError",
            "boto3 cannot find the profile that AWS_PROFILE names. Check its name.": (
                "ProfileNotFound"
            ),
        },
        BackendUnavailableError: {
            "AWS cannot be reached{at} ({name}). Check the network path to its endpoint.": (
                "CapacityNotAvailableError ConnectionError HTTPClientError IncompleteReadError "
                "OSError"
            ),
            "boto3 could not get its credentials ({name}). Try again, or run the profile's "
            "credential_process by hand.": "CredentialRetrievalError MetadataRetrievalError",
            "AWS cannot be reached through the proxy ({name}). Check HTTPS_PROXY, or add the host "
            "to NO_PROXY.": "ProxyConnectionError",
            "AWS cannot be reached{at} ({name}): its certificate cannot be verified. If a proxy "
            "of yours signs it, set AWS_CA_BUNDLE to a file with its root certificate. If it is "
            "set, check the file.": "SSLError",
        },
        BackendError: {
            "boto3 does not accept its name, version or label. Check how it is written.": (
                "ParamValidationError"
            ),
            "boto3 raised {name} (its message is withheld). Check its settings, such as "
            "AWS_PROFILE and AWS_ENDPOINT_URL.": "Exception",
        },
    }
)
CLOCK_TOLERANCE = 240.0  # seconds; AWS refuses signatures that are 5 minutes off


def is_code(text: str) -> bool:
    """Whether the text can be a code of AWS; other text, as from a proxy, is never shown."""
    return text.replace(".", "").isidentifier() and text.isascii()


def _said(code: str, status: int) -> str:
    return code if is_code(code) else f"HTTP {status}"


def by_code(
    code: str, kind: str, *, status: int = 0, message: str = "", by_agent: bool = False
) -> ResolutionError:
    """Return our error for a code that AWS answered to a read of this kind of source.

    AWS's own message is shown only for a denial: it names principal, action and resource.
    """
    said = _said(code, status)
    our: type[ResolutionError] = BackendError
    if message.lower().startswith(OF_THE_CLOCK):
        our, advice = BackendUnavailableError, _CLOCK
    elif "AccessDenied" in code:
        allow = ACTIONS[kind]
        if by_agent:
            allow += " and secretsmanager:DescribeSecret, which the agent needs too"
        text = f": {message}" if message else ""
        return AccessDeniedError(
            f"AWS denies it ({said}{text}). Allow the role {allow}, and kms:Decrypt on the KMS key "
            "if it is your own."
        )
    elif code in CODES:
        our, advice = CODES[code]
    elif status == 429 or status >= 500:
        our, advice = BackendUnavailableError, _AGAIN
    elif said != code:
        advice = "Is a proxy or another program in between?"
    else:
        advice = "See the AWS error reference for this code."
    joint = "." if advice[:1].isupper() else ":"
    thing = "configuration" if kind == "appconfig" else kind
    who = "it" if by_agent and code in {"ConnectionError", "TimeoutError"} else "AWS"
    return our(f"{who} answered {said}{joint} {advice.format(kind=thing)}")


def missing_in(region: str, source: Source, error: SecretNotFoundError) -> SecretNotFoundError:
    """Return the error with the region that was asked, and with the prefix that may be missing."""
    text = f"{error} The region was {region}." if region else str(error)
    if source.kind == "secret" and source.name.startswith("/"):
        text += f" For a parameter, write 'ssm:{source.name}'."
    return SecretNotFoundError(text)


# From AWS itself


def by_aws(kind: str, host: str, reply: Outcome) -> ResolutionError:
    """Return our error for a reply."""
    if isinstance(reply, Fault):
        our, text = _FAULTS[reply.kind]
        return our(text.format(host=host, detail=reply.detail or "no reason given"))
    if reply.status < 400:
        what = "redirects elsewhere" if reply.status >= 300 else "did not answer with AWS's JSON"
        return BackendError(
            f"{host} {what} (HTTP {reply.status}). Is a proxy or a captive portal in between?"
        )
    try:
        fields = opaque(json.loads(reply.body(0)))
    except (ValueError, RecursionError):
        fields = opaque({})
    if not isinstance(fields(0), dict):
        fields = opaque({})
    code = str(reply.headers(0).get("x-amzn-errortype") or fields(0).get("__type") or "")
    code = code.partition(":")[0].rpartition("#")[2]
    message = str(fields(0).get("message") or fields(0).get("Message") or "")
    return by_code(code, kind, status=reply.status, message=message)


def clock_offset(reply: Outcome, signed_at: float) -> float | None:
    """Return how many seconds AWS's clock is ahead of ours, or None if signatures tolerate it."""
    import ssl  # whose parser, unlike `strptime`, does not depend on the locale

    if isinstance(reply, Fault) or reply.status < 400:
        return None
    try:  # such as Sun, 06 Nov 1994 08:49:37 GMT
        _, day, month, year, clock, zone = reply.headers(0)["date"].split()
        date = ssl.cert_time_to_seconds(f"{month} {day} {clock} {year} {zone}")
    except (LookupError, ValueError, OverflowError):
        return None
    return date - time.time() if abs(date - signed_at) > CLOCK_TOLERANCE else None


# From boto3


def by_boto3(error: Exception, kind: str) -> ResolutionError:
    """Return our error for one that boto3 raised in a read of this kind of source."""
    names = [each.__name__ for each in type(error).__mro__]
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        answer = response.get("Error", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
        operation = getattr(error, "operation_name", "")
        if operation in _FOR_CREDENTIALS:
            return _by_issuer(operation, code, status, message)
        return by_code(code, kind, status=status, message=message)
    if names[0] in {"ValueError", "HTTPClientError"}:  # also raised for the URL of an endpoint
        # Any region: only the variables matter.
        malformed = endpoint_of(SERVICES[kind], "us-east-1")
        if isinstance(malformed, UnaskedError):
            return malformed
    known = getattr(error, "kwargs", None)
    endpoint = endpoint_at(str(known.get("endpoint_url"))) if isinstance(known, dict) else None
    at = f" at {endpoint.host}" if endpoint else ""
    our, text = next(_EXCEPTIONS[name] for name in names if name in _EXCEPTIONS)
    return our(text.format(name=names[0], at=at))


def _by_issuer(operation: str, code: str, status: int, message: str) -> ResolutionError:
    """Return our error for a code that AWS answered to a call for temporary credentials.

    It is never about the secret: a role that does not exist is not a missing secret.
    """
    our = type(by_code(code, "secret", status=status, message=message))
    said = f"{_said(code, status)} to {operation}"
    if our is AccessDeniedError or code == "ForbiddenException":  # the SSO portal's code for it
        text = f": {message}" if message else ""
        return AccessDeniedError(
            f"AWS denies the credentials ({said}{text}). Check that the role exists, and that its "
            "trust policy or SSO assignment allows it."
        )
    kind = our if our in {BackendUnavailableError, ExpiredError} else BackendError
    advice = _AGAIN if kind is BackendUnavailableError else "Check the profile, or sign in again."
    return kind(f"AWS gave no credentials ({said}). {advice}")

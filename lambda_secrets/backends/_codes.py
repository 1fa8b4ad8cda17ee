"""What the error codes of AWS mean: our class and our advice, in one table for every backend.

The codes are those of Secrets Manager, Parameter Store, AppConfig and of all of AWS:
https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html.
"""

from __future__ import annotations

from ..errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)

ACTIONS = {
    "secret": "secretsmanager:GetSecretValue",
    "parameter": "ssm:GetParameters",
    "tree": "ssm:GetParametersByPath",
    "appconfig": "appconfig:StartConfigurationSession and appconfig:GetLatestConfiguration",
}
_AGAIN = "Try again."
_CLOCK = "the machine's clock is off, or the request was frozen on its way. Try again."
_DELETED = "the secret may be scheduled for deletion. Restore it, or declare another one."
_EXPIRED = (
    "the credentials have expired. Renew them (for SSO: aws sso login); an agent may need to be "
    "started again."
)
_KEY = "its KMS key cannot decrypt it. Check whether the KMS key exists and is enabled."
_NOT_FOUND = (
    "there is no such {kind} or version, or it has no value yet. Check the name and the region."
)
_NOT_KNOWN = "it does not know these credentials. Check where they come from."
_NOT_VALID = "the name, version or label is not one that AWS accepts. Check how it is written."

EXPIRED = ("ExpiredToken", "ExpiredTokenException")
_Meaning = tuple[type[ResolutionError], str]
_MEANINGS: tuple[tuple[type[ResolutionError], str, str], ...] = (
    (
        SecretNotFoundError,
        _NOT_FOUND,
        """ParameterNotFound ParameterVersionLabelNotFound ParameterVersionNotFound
        ResourceNotFoundException""",
    ),
    (
        BackendUnavailableError,
        _AGAIN,
        """IDPCommunicationError
        InternalError InternalFailure InternalServerError InternalServerException
        InternalServiceError InternalServiceErrorException LimitExceededException
        PriorRequestNotComplete RequestLimitExceeded RequestThrottled RequestThrottledException
        RequestTimeout RequestTimeoutException ServiceUnavailable ServiceUnavailableException
        SlowDown ThrottledException Throttling ThrottlingException TooManyRequestsException""",
    ),
    (BackendUnavailableError, _CLOCK, "RequestExpired RequestInTheFuture RequestTimeTooSkewed"),
    # The agent's own words for an AWS that it does not reach.
    (BackendUnavailableError, "the agent cannot reach AWS. Try again.", "ConnectionError"),
    (BackendUnavailableError, "AWS did not answer the agent in time. Try again.", "TimeoutError"),
    (BackendError, _KEY, "DecryptionFailure InvalidKeyId"),
    (BackendError, _EXPIRED, " ".join(EXPIRED)),
    (
        BackendError,
        _NOT_KNOWN,
        """IncompleteSignature InvalidClientTokenId InvalidSignatureException
        MissingAuthenticationToken MissingAuthenticationTokenException SignatureDoesNotMatch
        UnrecognizedClientException""",
    ),
    (
        BackendError,
        _NOT_VALID,
        "BadRequestException InvalidParameterException ValidationError ValidationException",
    ),
    (BackendError, _DELETED, "InvalidRequestException"),
)
_TABLE = {code: (our, advice) for our, advice, codes in _MEANINGS for code in codes.split()}
_OF_THE_AGENT = {"ConnectionError", "TimeoutError"}
_OF_THE_CLOCK = ("signature expired", "signature not yet current")


def is_code(text: str) -> bool:
    """Whether it can be a code of AWS: a proxy's answer may be anything, and is not shown."""
    return text.replace(".", "").isidentifier() and text.isascii()


def meaning_of(code: str, status: int, message: str = "") -> _Meaning:
    """Return our class for a code of AWS with its HTTP status, and what to do about it."""
    if message.lower().startswith(_OF_THE_CLOCK):
        return BackendUnavailableError, _CLOCK
    if "AccessDenied" in code:
        return AccessDeniedError, ""
    if code in _TABLE:
        return _TABLE[code]
    if status == 429 or status >= 500:
        return BackendUnavailableError, _AGAIN
    if not is_code(code):
        return BackendError, "Is another program or a proxy between it and AWS?"
    return BackendError, "See the AWS error reference for this code."


def refusal(
    code: str, kind: str, *, status: int = 0, message: str = "", by_agent: bool = False
) -> ResolutionError:
    """Return the error for what AWS answered to the read of a source of this kind.

    Of AWS's own messages only that of a denial is shown: it names principal, action and resource.
    """
    our, advice = meaning_of(code, status, message)
    said = code if is_code(code) else f"HTTP {status}"
    if our is AccessDeniedError:
        allow = ACTIONS[kind]
        if by_agent:
            allow += " and secretsmanager:DescribeSecret, which the agent needs too"
        text = f": {message}" if message else ""
        return our(
            f"AWS denies it ({said}{text}). Allow the role {allow}, and kms:Decrypt on its key."
        )
    who = "it" if by_agent and code in _OF_THE_AGENT else "AWS"
    joint = "." if advice[:1].isupper() else ":"
    return our(f"{who} answered {said}{joint} {advice.format(kind=kind)}")


def credentials_refusal(
    operation: str, code: str, *, status: int = 0, message: str = ""
) -> ResolutionError:
    """Return the error for what AWS answered when it was asked for temporary credentials.

    Whatever it says is not about the secret: a role that does not exist is no missing secret.
    """
    our, _ = meaning_of(code, status, message)
    said = f"{code if is_code(code) else f'HTTP {status}'} to {operation}"
    if our is AccessDeniedError or code == "ForbiddenException":  # as the SSO portal says it
        text = f": {message}" if message else ""
        return AccessDeniedError(
            f"AWS denies the credentials ({said}{text}). Check that the role exists, and that its "
            "trust policy or SSO assignment names whoever asks."
        )
    if our is BackendUnavailableError:
        return our(f"AWS gave no credentials ({said}). Try again.")
    return BackendError(
        f"AWS gave no credentials ({said}). Check the profile and its role, or sign in again."
    )

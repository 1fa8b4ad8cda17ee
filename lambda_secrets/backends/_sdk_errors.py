"""What the errors of boto3 and botocore mean; their own messages may quote a reply."""

from __future__ import annotations

import os

from ..errors import BackendError, BackendUnavailableError, ResolutionError
from ._codes import refusal
from ._states import UnaskedError

# By the names of botocore's classes: its versions do not all have the same ones.
_UNASKED = {
    "NoCredentialsError": (
        "boto3 finds no credentials. Run with the function's role, or set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or a profile in AWS_PROFILE."
    ),
    "NoRegionError": "boto3 knows no region. Set AWS_REGION.",
    "PartialCredentialsError": "the credentials that boto3 finds are incomplete. Set both keys.",
    "ProfileNotFound": "boto3 does not find the profile of AWS_PROFILE. Check its name.",
    "SSOTokenLoadError": "there is no SSO login. Run: aws sso login.",
    "TokenRetrievalError": "the SSO login has expired. Run: aws sso login.",
    "UnauthorizedSSOTokenError": "the SSO login has expired. Run: aws sso login.",
}


def failure_of(error: Exception, kind: str) -> ResolutionError:
    """Return our error for what boto3 raised when it read a source of this kind."""
    name = type(error).__name__
    if isinstance(error, ImportError):
        return UnaskedError(
            f"boto3 cannot be imported ({name}). Install lambda-secrets[sdk], or use "
            'backend="aws" or the extension.'
        )
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        answer = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
        return refusal(code, kind, status=status, message=message)
    if name in _UNASKED:
        return UnaskedError(_UNASKED[name])
    unreachable = (
        exceptions.CapacityNotAvailableError,
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        OSError,
    )
    if isinstance(error, unreachable):
        return BackendUnavailableError(
            f"AWS cannot be reached ({name}). Check the network path to its endpoint."
        )
    if isinstance(error, (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError)):
        return BackendUnavailableError(f"boto3 could not get its credentials ({name}). Try again.")
    if isinstance(error, exceptions.ParamValidationError):
        return BackendError(
            "boto3 does not accept its name, version or label (ParamValidationError). Check how it "
            "is written."
        )
    if isinstance(error, ValueError) and "://" not in os.environ.get("AWS_ENDPOINT_URL", "://"):
        return UnaskedError(
            "AWS_ENDPOINT_URL is not a URL that begins with http:// or https://. Set it to one "
            "such as http://localhost:4566."
        )
    return BackendError(
        f"boto3 raised {name} (its message is withheld). Check its settings, such as AWS_PROFILE "
        "and AWS_ENDPOINT_URL."
    )


def wrong_region(own: str, region: str) -> ResolutionError:
    """Return the error for an ARN of another region than that of a client that was given."""
    return BackendError(
        f"the ARN names the region {region}, but the client that was given is one of {own}. Give "
        "a session instead: clients of other regions are made from it."
    )

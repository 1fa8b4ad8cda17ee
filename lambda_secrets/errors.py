"""The errors that a user of the package can meet.

SecretsError
├── DeclarationError (ValueError)     wrong declaration or option, when the decorator is applied
├── InjectionError   (TypeError)      this event or context cannot take the values
└── ResolutionError                   several kinds of failure at once, or one of
    ├── SecretNotFoundError           the backend says that it does not exist
    ├── AccessDeniedError             the backend says that it may not be read
    ├── BackendUnavailableError       transient: unreachable, timed out, throttled, 5xx, not ready
    ├── BackendError                  any other failure of the backend
    └── SecretValueError              read, but not JSON, no match, wrong type, transform failed

No message, attribute, cause or context of any of them holds a secret value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class SecretsError(Exception):
    """Base of all errors of this package."""


class DeclarationError(SecretsError, ValueError):
    """A declaration or an option is wrong; raised as early as that can be known."""


class InjectionError(SecretsError, TypeError):
    """The event or the context of this invocation cannot take the values."""


class ResolutionError(SecretsError):
    """One or more secrets could not be resolved.

    One error reports every failure of a round. If all failures have one class, it has that too::

        try:
            lambda_handler(event, context)
        except ResolutionError as error:
            for name, failure in error.failures.items():
                print(name, type(failure).__name__)

    A backend of your own returns one with just the reason: ``BackendError("it is sealed")``.

    Attributes:
        failures: declared name → its own error. Empty for the error of a single secret.
        name: the declared name; None if several failed.
        source: the declaration string; None if several failed.
        backend: the name of the backend that failed; None if several failed.
    """

    def __init__(
        self,
        message: str = "",
        *,
        name: str | None = None,
        source: str | None = None,
        backend: str | None = None,
        failures: Mapping[str, ResolutionError] | None = None,
    ) -> None:
        """Keep the message and what failed."""
        super().__init__(message)
        self.name = name
        self.source = source
        self.backend = backend
        self.failures: dict[str, ResolutionError] = dict(failures or {})


class SecretNotFoundError(ResolutionError):
    """The backend says that the secret, or its version or staging label, does not exist."""


class AccessDeniedError(ResolutionError):
    """The backend says that the function may not read the secret."""


class BackendUnavailableError(ResolutionError):
    """Transient: the backend is unreachable, slow, throttling, failing (5xx) or not ready."""


class BackendError(ResolutionError):
    """The backend failed otherwise: bad token, malformed reply, refusal without a reason."""


class SecretValueError(ResolutionError):
    """The secret was read, but its value is not what the declaration says."""

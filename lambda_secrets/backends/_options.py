"""Says what is wrong with an option of a backend, or with the choice of one."""

from __future__ import annotations

from ..errors import DeclarationError


def check_options(*, batch: object, region: object = None) -> None:
    """Raise a `DeclarationError` for an option of the wrong type."""
    if not isinstance(batch, bool):
        raise DeclarationError(f"Cannot read from AWS: batch={batch!r} must be True or False.")
    if region is not None and not isinstance(region, str):
        raise DeclarationError(
            f"Cannot read from AWS: region={region!r} must be a string such as 'eu-central-1'."
        )


def unknown_backend(given: object, chosen: object) -> DeclarationError:
    """Return the error for what is neither the name of a backend nor a backend."""
    if not isinstance(chosen, str):
        # Only its type: it may be the values, without a MemoryBackend around them.
        got = "its class" if isinstance(chosen, type) else type(chosen).__name__
        return DeclarationError(
            "Cannot use this backend: expected 'auto', 'extension', 'aws', 'sdk', 'file' or an "
            f"object with a fetch() method, got {got}."
        )
    variable = " (from LAMBDA_SECRETS_BACKEND)" if chosen != given else ""
    return DeclarationError(
        f"Cannot use backend {chosen!r}{variable}: there is no backend of that name. "
        "Use 'auto', 'extension', 'aws', 'sdk' or 'file'."
    )


def file_named_by(path: str | None) -> str:
    """Return the path that the variable of the backend "file" names."""
    if not path:
        raise DeclarationError(
            "Cannot use backend 'file': LAMBDA_SECRETS_FILE is not set. "
            "Set it to a TOML or JSON file, or use FileBackend(path)."
        )
    return path

"""This package; LAMBDA_SECRETS_BACKEND chooses the backend."""

from lambda_secrets import inject_secrets


@inject_secrets({"db": "prod/db#@"})
def handler(event, context):
    """Return what was injected."""
    return context.secrets.db["user"]

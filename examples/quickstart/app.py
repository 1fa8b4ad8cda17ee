"""A handler that needs a database login, an API key and an address, and says that it got them."""

from __future__ import annotations

from typing import Any

from lambda_secrets import inject_secrets


@inject_secrets(
    {
        "db": "prod/db#@",
        "api_key": "prod/stripe#keys.live",
        "base_url": "ssm:/prod/base-url",
    },
    ttl=300,
)
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return the names and sizes of what arrived, never the values."""
    secrets = context.secrets
    return {
        "greeting": f"Hello {event.get('name', 'world')}!",
        "db": sorted(secrets.db),
        "api_key": f"{len(secrets.api_key)} characters",
        "base_url": f"{len(secrets.base_url)} characters",
    }

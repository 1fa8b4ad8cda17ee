"""A function that logs in to a database with a JSON secret; it needs no layer."""

from __future__ import annotations

from typing import Any

from lambda_secrets import inject_secrets


@inject_secrets({"db": "example/db#@"}, ttl=300)
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, str]:
    """Return who would log in where; a real function would connect here."""
    db = context.secrets.db
    return {"login": f"{db['username']}@{db['host']}:{db['port']}"}

"""A handler whose signature declares the secrets that it needs and their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from lambda_secrets import Parameter, Secret, inject_secrets


@dataclass
class Login:
    """The JSON of the secret ``prod/db``."""

    username: str
    password: str
    host: str
    port: int = 5432


@inject_secrets(ttl=300)
def lambda_handler(
    event: dict[str, Any],
    context: object,
    *,
    login: Annotated[Login, Secret("prod/db")],
    api_key: Annotated[str, Secret("prod/stripe", "keys.live")],
    replicas: Annotated[list[str], Parameter("/prod/db/replicas")],
    mode: Annotated[Literal["live", "test"], Parameter("/prod/mode")] = "test",
) -> dict[str, Any]:
    """Return what arrived, without the confidential values."""
    return {
        "database": f"{login.host}:{login.port}",
        "replicas": len(replicas),
        "api_key": f"{len(api_key)} characters",
        "mode": mode,
    }

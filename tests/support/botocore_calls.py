"""Counts the calls that botocore really makes, whichever client makes them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from botocore.client import BaseClient

if TYPE_CHECKING:
    import pytest


class BotocoreCalls:
    """Every AWS operation that this process called, in order, with its parameters."""

    def __init__(self) -> None:
        """Start with none."""
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.clients: list[BaseClient] = []

    @property
    def by_operation(self) -> dict[str, int]:
        """How often each operation was called: `{"GetParameters": 2}`."""
        return dict(Counter(operation for operation, _ in self.made))

    def clear(self) -> None:
        """Forget the calls so far, but not which clients there are."""
        self.made.clear()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Record the calls of every client, including existing ones."""
        call = BaseClient._make_api_call

        def recorded(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
            self.made.append((operation, parameters))
            if not any(client is known for known in self.clients):
                self.clients.append(client)
            return call(client, operation, parameters)

        monkeypatch.setattr(BaseClient, "_make_api_call", recorded)

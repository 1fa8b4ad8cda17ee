"""Ways to talk to a stand-in."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from lambda_secrets.cli.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

TOKEN = "the-session-token"
TABLES: dict[str, dict[str, Any]] = {
    "secrets": {
        "prod/db": {"user": "<root>", "password": "a&b"},
        "prod/plain": "text\u2028\u00e9\u4e16",
        "odd+=.@_-/name": "odd",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:only/arn-Ab12Cd": "by arn",
    },
    "binary": {"prod/key": "AAEC/w=="},
    "parameters": {"/prod/url": "https://example.org", "/prod/list": ["a", "b"], "flat": {"n": 1}},
    "appconfig": {
        "shop/prod/flags": {"dark": {"enabled": True}, "beta": {"enabled": False}},
        "my%2Fshop/prod/text": "plain words",
    },
}


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)


class Client:
    """One kept-alive connection to a stand-in."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._headers = {"X-Aws-Parameters-Secrets-Token": token}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def get(self, target: str, *, method: str = "GET", **headers: Any) -> Answer:
        """Send a request; a header given as None is left out, `_` in its name is a hyphen."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        wanted = {n: v for n, v in (self._headers | given).items() if v is not None}
        self.connection.request(method, target, headers=wanted)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())


@pytest.fixture
def emulator_of() -> Iterator[Callable[..., Emulator]]:
    """Start stand-ins; each is stopped after the test."""
    started: list[Emulator] = []

    def start(values: Any = TABLES, **options: Any) -> Emulator:
        options.setdefault("token", TOKEN)
        emulator = Emulator(values, **options)
        emulator.start()
        started.append(emulator)
        return emulator

    yield start
    for emulator in started:
        emulator.stop()

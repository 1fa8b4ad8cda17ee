"""What is known of the AppConfig extension's answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.emulator.local import FileValues
from tests.cli.emulator.conftest import TABLES, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clock import FakeClock

    EmulatorOf = Callable[..., Emulator]

FLAGS = "/applications/shop/environments/prod/configurations/flags"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return a client of one AppConfig port, without a token."""
    with Emulator(TABLES) as emulator:
        assert emulator.appconfig_port is not None
        with Client(emulator.appconfig_port, token="") as client:
            yield client


def test_a_configuration_is_answered_raw(client: Client) -> None:
    """The body is the configuration, the version is in a header, no token is asked for."""
    answer = client.get(FLAGS)
    assert answer.json() == TABLES["appconfig"]["shop/prod/flags"]
    assert answer.headers["Configuration-Version"] == "1"
    assert answer.headers["Content-Type"] == "application/json"


def test_names_may_hold_a_slash(client: Client) -> None:
    """A slash in a name is percent-encoded, in the file as in the request."""
    answer = client.get("/applications/my%2Fshop/environments/prod/configurations/text")
    assert (answer.text, answer.headers["Content-Type"]) == ("plain words", "text/plain")


def test_flags_can_be_asked_for_alone(client: Client) -> None:
    """One flag is answered bare, several by name."""
    assert client.get(FLAGS + "?flag=dark").json() == {"enabled": True}
    both = client.get(FLAGS + "?flag=dark&flag=beta").json()
    assert both == {"dark": {"enabled": True}, "beta": {"enabled": False}}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (FLAGS + "?flag=nope", 400),
        ("/applications/my%2Fshop/environments/prod/configurations/text?flag=x", 400),
        ("/applications/shop/environments/prod/configurations/nope", 404),
        ("/applications/shop", 404),
    ],
)
def test_refusals(client: Client, target: str, status: int) -> None:
    """What is not there is an error status."""
    assert client.get(target).status == status


def test_the_old_configuration_stays_when_a_poll_fails(
    emulator_of: EmulatorOf, clock: FakeClock, tmp_path: Path
) -> None:
    """A change is seen at the next poll; a failing poll changes nothing."""
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps(TABLES))
    emulator = emulator_of(FileValues(path), clock=clock.monotonic)
    with Client(emulator.appconfig_port or 0) as client:
        client.get(FLAGS)
        emulator.rotate("appconfig:shop/prod/flags", "new")
        assert client.get(FLAGS).text != "new"
        clock.tick(45)
        answer = client.get(FLAGS)
        assert (answer.text, answer.headers["Configuration-Version"]) == ("new", "2")
        path.write_text("{}")
        clock.tick(45)
        assert client.get(FLAGS).text == "new"


def test_without_configurations_there_is_no_port(emulator_of: EmulatorOf) -> None:
    """A file without the table leaves AppConfig's port alone."""
    emulator = emulator_of({"secrets": {"a": "b"}})
    assert emulator.appconfig_port is None
    assert set(emulator.environment) == {
        "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT",
        "AWS_SESSION_TOKEN",
    }

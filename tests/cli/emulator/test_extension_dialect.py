"""What is known of the extension's answers, fact by fact."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets.cli.emulator import Emulator, Settings
from lambda_secrets.cli.emulator.dialects import _go_time
from tests.cli.emulator.conftest import TABLES, TOKEN, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.clock import FakeClock

    EmulatorOf = Callable[..., Emulator]

REFUSED = "an unexpected error occurred while executing request\n"
SECRET = "/secretsmanager/get?secretId="
PARAMETER = "/systemsmanager/parameters/get?name="
PARAMETER_ARN = "arn:aws:ssm:eu-west-1:111122223333:parameter/prod/url"
ELSEWHERE = "arn:aws:ssm:eu-west-1:111122223333:parameter/flat"
PLAIN_ARN = r"arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/plain-[A-Z2-7]{6}"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return a client of one stand-in for the whole table of facts."""
    with Emulator(TABLES, token=TOKEN) as emulator, Client(emulator.port) as client:
        yield client


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        pytest.param(SECRET + "nope", 400, REFUSED, id="not found"),
        pytest.param(SECRET + "prod/db&versionStage=NOPE", 400, REFUSED, id="no such stage"),
        pytest.param(SECRET + "prod/db&versionId=nope", 400, REFUSED, id="no such version"),
        pytest.param("/secretsmanager/get", 400, REFUSED, id="no secretId"),
        pytest.param(SECRET, 400, REFUSED, id="an empty secretId"),
        pytest.param(PARAMETER + "%2Fnope", 400, REFUSED, id="no such parameter"),
        pytest.param(PARAMETER + "%2Fprod%2Furl&version=9", 400, REFUSED, id="parameter version"),
        pytest.param(PARAMETER + "%2Fprod%2Furl&label=no", 400, REFUSED, id="no such label"),
        pytest.param("/systemsmanager/parameters/get", 400, REFUSED, id="no name"),
        pytest.param(
            PARAMETER + "%2Faws%2Freference%2Fsecretsmanager%2Fprod%2Fplain",
            400,
            REFUSED,
            id="a reference to a secret without withDecryption",
        ),
        pytest.param("/nowhere", 404, "404 page not found\n", id="unknown path"),
        pytest.param("/secretsmanager/get/", 404, "404 page not found\n", id="trailing slash"),
    ],
)
def test_refusals(client: Client, target: str, status: int, body: str) -> None:
    """A refusal is plain text that never says why."""
    answer = client.get(target)
    assert (answer.status, answer.text) == (status, body)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "\xe9"])
@pytest.mark.parametrize("target", [SECRET + "prod/plain", PARAMETER + "%2Fprod%2Furl"])
def test_a_wrong_token_is_a_401(client: Client, token: str | None, target: str) -> None:
    """Every endpoint wants the token."""
    answer = client.get(target, X_Aws_Parameters_Secrets_Token=token)
    assert (answer.status, answer.text) == (401, "bad session token or header key\n")


def test_a_method_that_is_not_get_is_refused(client: Client) -> None:
    """A POST reads nothing, and its connection is closed since nobody reads its body."""
    answer = client.get(SECRET + "prod/plain", method="POST")
    assert (answer.status, answer.headers["Connection"]) == (405, "close")
    assert client.get(SECRET + "prod/plain", method="HEAD").body == b""


def test_a_secret_is_answered_byte_for_byte(client: Client) -> None:
    """Both Secret members are there, the unused one null; non-ASCII is raw but U+2028."""
    answer = client.get(SECRET + "prod%2Fplain")
    assert answer.status == 200
    assert re.fullmatch(
        r'\{"ARN":"' + PLAIN_ARN + r'",'
        r'"CreatedDate":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z",'
        r'"Name":"prod/plain","SecretBinary":null,"SecretString":"text\\u2028é世",'
        r'"VersionId":"[0-9a-f-]{36}","VersionStages":\["AWSCURRENT"\],"ResultMetadata":\{\}\}',
        answer.text,
    )


def test_html_characters_arrive_escaped(client: Client) -> None:
    """Go's JSON writes <, > and & as escapes."""
    text = client.get(SECRET + "prod%2Fdb").text
    assert r"\u003croot\u003e" in text
    assert r"a\u0026b" in text
    assert not set("<>&") & set(text)


def test_a_binary_secret_is_base64(client: Client) -> None:
    """SecretBinary is base64 text and SecretString null."""
    body = client.get(SECRET + "prod%2Fkey").json()
    assert (body["SecretBinary"], body["SecretString"]) == ("AAEC/w==", None)


@pytest.mark.parametrize(
    ("secret_id", "name"),
    [
        ("odd%2B%3D.%40_-%2Fname", "odd+=.@_-/name"),
        ("prod/plain", "prod/plain"),
        ("arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/plain-AbCdEf", "prod/plain"),
        ("arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/plain", "prod/plain"),
        (
            "arn%3Aaws%3Asecretsmanager%3Aeu-west-1%3A111122223333%3Asecret%3Aonly%2Farn-Ab12Cd",
            "only/arn",
        ),
    ],
)
def test_secrets_have_names_and_arns(client: Client, secret_id: str, name: str) -> None:
    """A secret is found by its name, its ARN, and the ARN without its suffix."""
    assert client.get(SECRET + secret_id).json()["Name"] == name


def test_a_plus_is_a_space(client: Client) -> None:
    """A plus sign that is not percent-encoded is read as Go reads it."""
    assert client.get(SECRET + "odd+=.@_-/name").status == 400


def test_a_version_is_found_by_its_id(client: Client) -> None:
    """VersionId and stage choose a version; the id alone is enough."""
    version = client.get(SECRET + "prod/plain").json()["VersionId"]
    asked = f"{SECRET}prod/plain&versionId={version}"
    assert client.get(asked).json()["VersionId"] == version
    assert client.get(asked + "&versionStage=AWSCURRENT").status == 200
    assert client.get(asked + "&versionStage=AWSPREVIOUS").status == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("%2Fprod%2Furl", {"Name": "/prod/url", "Type": "String", "Selector": None}),
        ("%2Fprod%2Furl", {"Value": "https://example.org", "Version": 1, "DataType": "text"}),
        ("%2Fprod%2Furl", {"ARN": "arn:aws:ssm:us-east-1:123456789012:parameter/prod/url"}),
        ("%2Fprod%2Furl&version=1", {"Selector": ":1"}),
        ("%2Fprod%2Furl&version=1&label=none", {"Selector": ":1"}),
        ("%2Fprod%2Furl:1", {"Selector": ":1", "Name": "/prod/url"}),
        ("%2Fprod%2Flist", {"Type": "StringList", "Value": "a,b"}),
        ("flat", {"Value": '{"n": 1}', "ARN": "arn:aws:ssm:us-east-1:123456789012:parameter/flat"}),
        ("arn:aws:ssm:us-east-1:123456789012:parameter/prod/url", {"Name": "/prod/url"}),
        ("arn:aws:ssm:us-east-1:123456789012:parameter/flat", {"Name": "flat"}),
        (ELSEWHERE, {"Name": "flat", "ARN": ELSEWHERE}),
    ],
)
def test_parameters(client: Client, query: str, expected: dict[str, Any]) -> None:
    """A parameter is answered under "Parameter", with the selector that was asked for."""
    body = client.get(PARAMETER + query).json()
    assert list(body) == ["Parameter", "ResultMetadata"]
    assert list(body["Parameter"]) == sorted(body["Parameter"])
    assert {name: body["Parameter"][name] for name in expected} == expected


def test_of_version_and_label_the_first_counts(client: Client) -> None:
    """With both, the one that comes first in the query is used."""
    assert client.get(PARAMETER + "%2Fprod%2Furl&label=none&version=1").status == 400


def test_the_slash_before_the_query_is_as_good(client: Client) -> None:
    """AWS's sample for parameters asks with a slash before the question mark."""
    assert client.get("/systemsmanager/parameters/get/?name=%2Fprod%2Furl").status == 200


def test_a_secret_is_read_through_parameter_store(client: Client) -> None:
    """The reference answers the secret as Version 0, with its source as JSON text."""
    version = client.get(SECRET + "prod/plain").json()["VersionId"]
    asked = PARAMETER + "%2Faws%2Freference%2Fsecretsmanager%2Fprod%2Fplain&withDecryption=true"
    for more, selector in (
        ("", None),
        ("&label=AWSCURRENT", ":AWSCURRENT"),
        (f"&version={version}", f":{version}"),
    ):
        parameter = client.get(asked + more).json()["Parameter"]
        assert parameter["Value"] == "text\u2028\u00e9\u4e16"
        assert (parameter["Version"], parameter["Type"]) == (0, "SecureString")
        assert parameter["Selector"] == selector
        assert json.loads(parameter["SourceResult"])["VersionId"] == version


def test_not_ready_until_init_is_over(emulator_of: EmulatorOf, clock: FakeClock) -> None:
    """All through INIT every answer is the other 400, whatever the token."""
    emulator = emulator_of(init=2.0, clock=clock.monotonic)
    with Client(emulator.port, token="wrong") as client:
        answer = client.get(SECRET + "prod/plain")
        assert (answer.status, answer.text) == (400, "not ready to serve traffic, please wait\n")
        clock.tick(2.0)
        assert client.get(SECRET + "prod/plain").status == 401


def _value(client: Client, target: str = SECRET + "prod/plain") -> str:
    body = client.get(target).json()
    return str(body.get("SecretString") or body["Parameter"]["Value"])


@pytest.mark.parametrize(
    ("target", "name", "settings"),
    [
        (SECRET + "prod/plain", "prod/plain", Settings(secret_ttl=60)),
        (PARAMETER + "%2Fprod%2Furl", "ssm:/prod/url", Settings(parameter_ttl=60)),
    ],
)
def test_a_value_is_cached_for_its_ttl(
    emulator_of: EmulatorOf, clock: FakeClock, target: str, name: str, settings: Settings
) -> None:
    """A rotated value is seen when the TTL is over."""
    emulator = emulator_of(settings=settings, clock=clock.monotonic)
    with Client(emulator.port) as client:
        old = _value(client, target)
        emulator.rotate(name, "new")
        clock.tick(59.9)
        assert _value(client, target) == old
        clock.tick(0.1)
        assert _value(client, target) == "new"


@pytest.mark.parametrize("settings", [Settings(secret_ttl=0), Settings(cache_size=0)])
def test_without_a_cache_each_answer_is_read(emulator_of: EmulatorOf, settings: Settings) -> None:
    """TTL 0 and size 0 turn the cache off."""
    emulator = emulator_of(settings=settings)
    with Client(emulator.port) as client:
        _value(client)
        emulator.rotate("prod/plain", "new")
        assert _value(client) == "new"


def test_the_least_recently_used_goes_first(emulator_of: EmulatorOf) -> None:
    """A cache of two keeps the two values that were asked for last."""
    emulator = emulator_of(settings=Settings(cache_size=2))
    with Client(emulator.port) as client:
        for name in ("prod/plain", "prod/db", "prod/plain", "prod/key"):
            client.get(SECRET + name)
        emulator.rotate("prod/plain", "new")
        emulator.rotate("prod/db", "new")
        assert _value(client) != "new"
        assert _value(client, SECRET + "prod/db") == "new"


def test_a_failure_is_not_cached(emulator_of: EmulatorOf) -> None:
    """What was not found is found as soon as it is there."""
    emulator = emulator_of(settings=Settings(secret_ttl=0))
    with Client(emulator.port) as client:
        assert client.get(SECRET + "late").status == 400
        emulator.rotate("late", "here")
        assert _value(client, SECRET + "late") == "here"


def test_an_upstream_timeout_is_refused_without_a_reason(emulator_of: EmulatorOf) -> None:
    """A read that takes longer than the timeout allows is answered as any other failure."""
    settings = Settings(secret_timeout=5, parameter_timeout=50)
    emulator = emulator_of(settings=settings, latency=0.01)
    with Client(emulator.port) as client:
        assert client.get(SECRET + "prod/plain").text == REFUSED
        assert client.get(PARAMETER + "%2Fprod%2Furl").status == 200


def test_a_value_that_cannot_be_told_costs_no_connection(emulator_of: EmulatorOf) -> None:
    """A list of numbers is no StringList: the request fails, the next one is answered."""
    emulator = emulator_of({"parameters": {"/bad": [1, 2]}, "secrets": {"good": "yes"}})
    with Client(emulator.port) as client:
        assert client.get(PARAMETER + "%2Fbad").text == REFUSED
        assert _value(client, SECRET + "good") == "yes"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2022, 11, 16, 8, 22, 40, 499_000, UTC), "2022-11-16T08:22:40.499Z"),
        (datetime(2022, 11, 16, 8, 22, 40, 500_000, UTC), "2022-11-16T08:22:40.5Z"),
        (datetime(2022, 11, 16, 8, 22, 40, 0, UTC), "2022-11-16T08:22:40Z"),
        (
            datetime(2022, 11, 16, 10, 22, 40, 0, timezone(timedelta(hours=2))),
            "2022-11-16T08:22:40Z",
        ),
    ],
)
def test_dates_are_written_as_go_writes_them(moment: datetime, text: str) -> None:
    """A date is UTC, with no trailing zeros in its fraction."""
    assert _go_time(moment) == text


@pytest.mark.parametrize("held", ["prod/db", "{arn}", "{arn}-Ab12Cd"])
@pytest.mark.parametrize("asked", ["prod/db", "{arn}", "{arn}-Ab12Cd"])
def test_a_secret_is_found_whichever_name_the_file_has(
    emulator_of: EmulatorOf, held: str, asked: str
) -> None:
    """By name, ARN and partial ARN; the answer is of what was asked for."""
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db"
    emulator = emulator_of({"secrets": {held.format(arn=arn): "found"}})
    with Client(emulator.port) as client:
        body = client.get(SECRET + asked.format(arn=arn)).json()
        assert (body["SecretString"], body["Name"]) == ("found", "prod/db")
        if asked != "prod/db":
            assert re.fullmatch(re.escape(arn) + "-[A-Za-z0-9]{6}", body["ARN"])
        elsewhere = arn.replace("eu-west-1", "us-east-1")
        found = client.get(SECRET + elsewhere).status
        assert found == (200 if held == "prod/db" else 400)


@pytest.mark.parametrize("held", ["/prod/url", PARAMETER_ARN])
@pytest.mark.parametrize("asked", ["/prod/url", PARAMETER_ARN])
def test_a_parameter_is_found_by_name_and_arn(
    emulator_of: EmulatorOf, held: str, asked: str
) -> None:
    """Whichever of them the file has."""
    emulator = emulator_of({"parameters": {held: "found"}})
    with Client(emulator.port) as client:
        parameter = client.get(PARAMETER + asked).json()["Parameter"]
        assert (parameter["Value"], parameter["Name"]) == ("found", "/prod/url")


def test_a_secure_string_is_ciphertext_until_it_is_decrypted(emulator_of: EmulatorOf) -> None:
    """A client that forgets withDecryption sees what it would see in AWS."""
    settings = Settings(follows_changes=True)
    emulator = emulator_of({"secure_strings": {"/prod/pin": "1234"}}, settings=settings)
    with Client(emulator.port) as client:
        asked = PARAMETER + "%2Fprod%2Fpin"
        encrypted = client.get(asked).json()["Parameter"]
        assert encrypted["Type"] == "SecureString"
        assert encrypted["Value"].startswith("AQICAHh")
        assert client.get(asked + "&withDecryption=true").json()["Parameter"]["Value"] == "1234"
        emulator.rotate("ssm:/prod/pin", "5678")
        assert client.get(asked).json()["Parameter"]["Value"].startswith("AQICAHh")
        assert client.get(asked + "&withDecryption=true").json()["Parameter"]["Value"] == "5678"

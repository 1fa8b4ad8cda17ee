"""Signatures and hosts: botocore is the oracle."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import time
from unittest import mock

import botocore.auth
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.endpoint_provider import EndpointProvider
from hypothesis import given, strategies as st

from lambda_secrets._values import opaque
from lambda_secrets.backends._aws import VERSION, signed
from lambda_secrets.backends._endpoints import Endpoint, endpoint_of
from lambda_secrets.backends._states import UnaskedError
from tests.support.faults import Request

WORDS = st.text("abcXYZ0189/+=_-", min_size=1, max_size=40)
REGIONS = st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1"])
SERVICES = st.sampled_from(["secretsmanager", "ssm", "appconfig"])
NAMES = st.text(min_size=1, max_size=60)


def by_botocore(
    method: str,
    url: str,
    body: bytes,
    *,
    headers: dict[str, str],
    keys: tuple[str, str, str],
    where: tuple[str, str],
    now: float,
) -> dict[str, str]:
    """Return the headers of this request as botocore would sign it."""
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    moment = dt.datetime.fromtimestamp(int(now), dt.UTC)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment):
        signer = SigV4Auth(Credentials(keys[0], keys[1], keys[2] or None), where[1], where[0])
        signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    name=NAMES,
    keys=st.tuples(WORDS, WORDS, WORDS | st.just("")),
    region=REGIONS,
    service=SERVICES,
    now=st.floats(0, 4e9),
    port=st.none() | st.integers(1024, 65535),
    base=st.sampled_from(["", "/base", "/a/b.c"]),
)
def test_signatures_of_json_calls_are_botocores(
    *,
    name: str,
    keys: tuple[str, str, str],
    region: str,
    service: str,
    now: float,
    port: int | None,
    base: str,
) -> None:
    """For any request, credentials, region and time, the signature equals botocore's."""
    host = "example.amazonaws.com" + (f":{port}" if port else "")
    body = json.dumps({"SecretId": name}).encode()
    headers = {
        "host": host,
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "secretsmanager.GetSecretValue",
    }
    raw = signed(
        "POST",
        f"{base}/",
        body,
        headers=headers,
        credentials=opaque(keys),
        where=(region, service),
        now=now,
    )(0)
    del headers["host"]
    url = f"https://{host}{base}/"
    where = (region, service)
    theirs = by_botocore("POST", url, body, headers=headers, keys=keys, where=where, now=now)
    ours = Request(raw, 1, 1).headers
    assert ours["authorization"] == theirs["authorization"]
    assert ours["x-amz-date"] == theirs["x-amz-date"]
    assert ours.get("x-amz-security-token") == theirs.get("x-amz-security-token")
    assert raw.endswith(b"\r\n\r\n" + body)
    assert ours["content-length"] == str(len(body))


@given(token=st.text("abcXYZ019-_=+/&", min_size=1, max_size=50), now=st.floats(0, 4e9))
def test_signatures_of_queries_are_botocores(token: str, now: float) -> None:
    """AppConfig's token is a query parameter, and is signed as one."""
    from lambda_secrets.backends._extension import encoded

    query = f"configuration_token={encoded(token)}"
    keys = ("key", "secret", "session")
    headers = {"host": "appconfigdata.us-east-1.amazonaws.com"}
    raw = signed(
        "GET",
        f"/configuration?{query}",
        b"",
        headers=headers,
        credentials=opaque(keys),
        where=("us-east-1", "appconfig"),
        now=now,
    )(0)
    url = f"https://{headers['host']}/configuration?{query}"
    where = ("us-east-1", "appconfig")
    theirs = by_botocore("GET", url, b"", headers={}, keys=keys, where=where, now=now)
    assert Request(raw, 1, 1).headers["authorization"] == theirs["authorization"]


def test_the_user_agent_names_this_version() -> None:
    """The user agent names the library and its version, and is not signed."""
    assert importlib.metadata.version("lambda-secrets") == VERSION
    keys = opaque(("k", "s", ""))
    where = ("us-east-1", "ssm")
    raw = signed(
        "GET", "/", b"", headers={"host": "h"}, credentials=keys, where=where, now=time.time()
    )(0)
    headers = Request(raw, 1, 1).headers
    assert headers["user-agent"] == f"lambda_secrets/{VERSION}"
    assert "user-agent" not in headers["authorization"]


def rule_sets() -> dict[str, EndpointProvider]:
    """Return botocore's rules for the endpoints of each service."""
    loader = botocore.session.Session().get_component("data_loader")
    partitions = loader.load_data("partitions")
    return {
        service: EndpointProvider(
            loader.load_service_model(service, "endpoint-rule-set-1"), partitions
        )
        for service in ("secretsmanager", "ssm", "appconfigdata")
    }


def all_regions() -> list[str]:
    """Return every region that botocore knows, in every partition."""
    loader = botocore.session.Session().get_component("data_loader")
    partitions = loader.load_data("partitions")["partitions"]
    return [region for partition in partitions for region in partition["regions"]]


@pytest.mark.parametrize("dual_stack", [False, True])
@pytest.mark.parametrize("fips", [False, True])
def test_hosts_are_botocores(
    monkeypatch: pytest.MonkeyPatch, *, fips: bool, dual_stack: bool
) -> None:
    """The hosts of three services in each region equal botocore's, with FIPS and dual-stack too."""
    if fips:
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    if dual_stack:
        monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "TRUE")
    compared = 0
    for service, rules in rule_sets().items():
        for region in all_regions():
            ours = endpoint_of(service, region)
            if region.endswith("-global"):
                assert isinstance(ours, UnaskedError)
                continue
            theirs = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack)
            assert isinstance(ours, Endpoint)
            assert f"https://{ours.host}" == theirs.url
            compared += 1
    assert compared > 100


@pytest.mark.parametrize(
    "region",
    [
        "xx-south-1",
        "us-east",
        "mars",
        "us--1",
        "us-east-x",
        "us-e\u00e4st-1",
        "us-east-1.evil.example/",
        f"us-{'x' * 64}-1",
    ],
)
def test_a_region_that_is_not_known_is_said(region: str) -> None:
    """An unknown region is an error that names the "sdk" backend: a host is never guessed."""
    error = endpoint_of("ssm", region)
    assert isinstance(error, UnaskedError)
    assert '"sdk"' in str(error)


def test_without_a_region_the_error_names_the_variable() -> None:
    """Without a region, the error names AWS_REGION: there is no default region."""
    assert "AWS_REGION" in str(endpoint_of("ssm", ""))


@pytest.mark.parametrize(
    ("environ", "service", "address", "host", "path"),
    [
        ({"AWS_ENDPOINT_URL": "http://h:4566"}, "ssm", ("h", 4566, False), "h:4566", ""),
        ({"AWS_ENDPOINT_URL": "https://h/"}, "ssm", ("h", 443, True), "h", "/"),
        ({"AWS_ENDPOINT_URL": "https://h:443/a/"}, "ssm", ("h", 443, True), "h", "/a/"),
        ({"AWS_ENDPOINT_URL": "http://h"}, "ssm", ("h", 80, False), "h", ""),
        ({"AWS_ENDPOINT_URL": "http://[::1]:1"}, "ssm", ("::1", 1, False), "[::1]:1", ""),
        (
            {"AWS_ENDPOINT_URL": "http://[fe80::1%br-0a]"},
            "ssm",
            ("fe80::1%br-0a", 80, False),
            "[fe80::1%br-0a]",
            "",
        ),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_SSM": "http://b"},
            "ssm",
            ("b", 80, False),
            "b",
            "",
        ),
        (
            {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://b"},
            "secretsmanager",
            ("b", 80, False),
            "b",
            "",
        ),
        (
            {"AWS_ENDPOINT_URL_APPCONFIGDATA": "http://b"},
            "appconfigdata",
            ("b", 80, False),
            "b",
            "",
        ),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "ssm",
            ("ssm.us-east-1.amazonaws.com", 443, True),
            "ssm.us-east-1.amazonaws.com",
            "",
        ),
        (
            {"AWS_ENDPOINT_URL_SSM": ""},
            "ssm",
            ("ssm.us-east-1.amazonaws.com", 443, True),
            "ssm.us-east-1.amazonaws.com",
            "",
        ),
    ],
)
def test_variables_name_endpoints(
    monkeypatch: pytest.MonkeyPatch,
    *,
    environ: dict[str, str],
    service: str,
    address: tuple[str, int, bool],
    host: str,
    path: str,
) -> None:
    """A service's own variable wins over the common one; another variable disables both."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    endpoint = endpoint_of(service, "us-east-1")
    assert not isinstance(endpoint, UnaskedError)
    assert (endpoint.address, endpoint.host, endpoint.path) == (address, host, path)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4566",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://[::1",
        "http://u:hunter2@h",
        "http://u@h",
        "http://a b",
        "http://a..b",
        "http://.h",
        f"http://{'x' * 64}.h",
        "http://h\u00e9",
        "http://h:0",
        "http://h/a b",
        "http://h/\n",
        "http://h/?a=b",
    ],
)
def test_a_malformed_endpoint_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A malformed endpoint URL is an error that names the variable and does not show the URL."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    error = endpoint_of("ssm", "us-east-1")
    assert isinstance(error, UnaskedError)
    assert "AWS_ENDPOINT_URL" in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_an_endpoint_and_fips_exclude_each_other(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """As in botocore, a custom endpoint with FIPS or dual-stack is an error."""
    monkeypatch.setenv(variable, "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://h")
    assert isinstance(endpoint_of("ssm", "us-east-1"), UnaskedError)

"""Where AWS is asked: other partitions, FIPS, dual-stack, and endpoints that variables name.

The rules are botocore's for these three services; a test compares every region.
"""

from __future__ import annotations

import os
import re

from ._aws import Endpoint
from ._http import port_of
from ._states import UnaskedError

# A region's pattern, then the suffix of its hosts, and the one of its dual-stack hosts.
_PARTITIONS = (
    (r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+", "amazonaws.com", "api.aws"),
    (r"us-gov-\w+-\d+", "amazonaws.com", "api.aws"),
    (r"cn-\w+-\d+", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    (r"eusc-(de)-\w+-\d+", "amazonaws.eu", "api.amazonwebservices.eu"),
    (r"us-iso-\w+-\d+", "c2s.ic.gov", "api.aws.ic.gov"),
    (r"us-isob-\w+-\d+", "sc2s.sgov.gov", "api.aws.scloud"),
    (r"eu-isoe-\w+-\d+", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    (r"us-isof-\w+-\d+", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
)
_VARIABLES = {
    "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "ssm": "AWS_ENDPOINT_URL_SSM",
    "appconfigdata": "AWS_ENDPOINT_URL_APPCONFIGDATA",
}


def endpoint_of(service: str, region: str) -> Endpoint | UnaskedError:
    """Return where a service is asked in a region, or why that is not known."""
    if not region:
        return UnaskedError(
            "no region is set. Set AWS_REGION, or use AwsBackend(region=…). In a unit test use "
            "override_secrets."
        )
    fips, dual_stack = _is_on("AWS_USE_FIPS_ENDPOINT"), _is_on("AWS_USE_DUALSTACK_ENDPOINT")
    for variable in (_VARIABLES[service], "AWS_ENDPOINT_URL"):
        url = os.environ.get(variable)
        if not url or _is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            continue
        if fips or dual_stack:
            return UnaskedError(
                f"{variable} cannot be combined with FIPS or dual-stack endpoints. Unset "
                "AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT, or that variable."
            )
        return _endpoint_at(url, variable, service, region)
    for pattern, suffix, dual_suffix in _PARTITIONS:
        if re.fullmatch(pattern, region, re.ASCII):
            host = _host(service, region, suffix, dual_suffix, fips=fips, dual_stack=dual_stack)
            return Endpoint(service, region, host)
    return UnaskedError(
        f"the region {region!r} belongs to no partition that this version knows. Check AWS_REGION, "
        'or use backend="sdk".'
    )


def _host(
    service: str, region: str, suffix: str, dual_suffix: str, *, fips: bool, dual_stack: bool
) -> str:
    """Return the host of a service, which has its own rules in some partitions."""
    is_gov = region.startswith("us-gov-")
    if service == "secretsmanager":
        # Its ordinary hosts are dual-stack, except for China's FIPS hosts.
        ordinary = suffix == "amazonaws.com" or (suffix == "amazonaws.com.cn" and not fips)
        name = f"{service}-fips" if fips else service
        return f"{name}.{region}.{dual_suffix if dual_stack and not ordinary else suffix}"
    name = f"{service}-fips" if fips and (dual_stack or not is_gov) else service
    return f"{name}.{region}.{dual_suffix if dual_stack else suffix}"


def _endpoint_at(url: str, variable: str, service: str, region: str) -> Endpoint | UnaskedError:
    """Return the endpoint of a URL, or what is wrong with it; the URL is not shown."""
    parts = parts_of(url)
    if parts is None or parts[0] not in {"http", "https"} or "?" in parts[3]:
        return UnaskedError(
            f"{variable} is not a URL that begins with http:// or https:// and has a host. Set it "
            "to one such as http://localhost:4566."
        )
    scheme, host, port, path = parts
    return Endpoint(service, region, host, port=port, path=path.rstrip("/"), tls=scheme == "https")


def parts_of(url: str) -> tuple[str, str, int | None, str] | None:
    """Return scheme, host, port and the rest of a URL; None if it is malformed or has a login.

    `urllib.parse` would import `ipaddress`.
    """
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    host, bracket, tail = place.removeprefix("[").partition("]")
    if not bracket:
        host, colon, tail = place.partition(":")
        tail = colon + tail
    port = port_of(tail.removeprefix(":"))
    if not (mark and host and (port or not tail)) or bool(bracket) != place.startswith("["):
        return None
    if set("@?#[] ") & set(host) or not f"{host}{path}".isprintable():
        return None
    return scheme.lower(), host.lower(), port or None, slash + path


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"

"""AWS's endpoints: partitions, FIPS, dual-stack, and endpoints set by variables.

The rules are botocore's for these three services; a test compares every region.
"""

from __future__ import annotations

import os
import re

from ._states import UnaskedError

_USUAL = "amazonaws.com", "api.aws"
# By the prefix of a region: the suffixes of its ordinary and of its dual-stack hosts.
_PARTITIONS = {
    **dict.fromkeys(("us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx", "us-gov"), _USUAL),
    "cn": ("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "eusc-de": ("amazonaws.eu", "api.amazonwebservices.eu"),
    "us-iso": ("c2s.ic.gov", "api.aws.ic.gov"),
    "us-isob": ("sc2s.sgov.gov", "api.aws.scloud"),
    "eu-isoe": ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    "us-isof": ("csp.hci.ic.gov", "api.aws.hci.ic.gov"),
}
# By kind of source.
SERVICES = {
    "secret": "secretsmanager",
    "parameter": "ssm",
    "tree": "ssm",
    "appconfig": "appconfigdata",
}
_VARIABLES = {
    "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "ssm": "AWS_ENDPOINT_URL_SSM",
    "appconfigdata": "AWS_ENDPOINT_URL_APPCONFIGDATA",
}
# IDNA allows no empty part of a name, and none of over 63 characters.
_HOST = r"\[[\w:.%-]+\]|[\w-]{1,63}(?:\.[\w-]{1,63})*\.?"
_URL = rf"(?ai)(https?)://({_HOST})(?::([1-9]\d{{0,4}}))?(/\S*)?"  # scheme, host, port and path


class Endpoint:
    """A server: its address, Host header, path prefix and AWS region."""

    def __init__(
        self, host: str, port: int = 0, path: str = "", *, tls: bool = True, region: str = ""
    ) -> None:
        usual = 443 if tls else 80
        self.address = host, port or usual, tls
        shown = f"[{host}]" if ":" in host else host
        self.host = shown if port in {0, usual} else f"{shown}:{port}"
        self.path = path
        self.region = region


def endpoint_of(service: str, region: str) -> Endpoint | UnaskedError:
    """Return the endpoint of a service in a region, or an error that says why it is unknown."""
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
        endpoint = endpoint_at(url, region)
        if endpoint is not None and "?" not in endpoint.path:
            return endpoint
        return UnaskedError(
            f"{variable} is not a URL that begins with http:// or https:// and has a host. Set it "
            "to one such as http://localhost:4566."
        )
    prefix, *words = region.rsplit("-", 2)
    is_region = len(words) == 2 and all(map(str.isalnum, words)) and words[1].isdecimal()
    is_label = region.isascii() and len(region) < 64
    if not (is_region and is_label and prefix in _PARTITIONS):
        return UnaskedError(
            f"the region {region!r} belongs to no partition that this version knows. Check "
            'AWS_REGION, or use backend="sdk".'
        )
    ordinary, dual = _PARTITIONS[prefix]
    suffix = dual if dual_stack else ordinary
    if service == "secretsmanager":
        # Its ordinary hosts are dual-stack, except for China's FIPS hosts.
        if ordinary == "amazonaws.com" or (prefix == "cn" and not fips):
            suffix = ordinary
    elif prefix == "us-gov" and not dual_stack:
        fips = False  # there, ordinary hosts are FIPS hosts
    return Endpoint(f"{service}{'-fips' if fips else ''}.{region}.{suffix}", region=region)


def endpoint_at(url: str, region: str = "") -> Endpoint | None:
    """Return the endpoint that a URL names; None if it is malformed or has a login.

    Not with `urllib.parse`, which imports `ipaddress`.
    """
    found = re.fullmatch(_URL, url)
    port = int(found[3] or 0) if found else 0
    if found is None or not url.isprintable() or port > 65535:
        return None
    scheme, host, _, path = found.groups("")
    tls = scheme.lower() == "https"
    return Endpoint(host.strip("[]").lower(), port, path, tls=tls, region=region)


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"

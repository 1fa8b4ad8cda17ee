"""What one writes by hand: the standard library's HTTP client, the extension, a cache."""

import http.client
import json
import os
import time
import urllib.parse

TTL = 300
_cache = {}


def get_secret(name):
    """Return a JSON secret through the extension."""
    value, until = _cache.get(name, (None, 0))
    if time.monotonic() < until:
        return value
    port = int(os.environ.get("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", "2773"))
    connection = http.client.HTTPConnection("localhost", port, timeout=5)
    connection.request(
        "GET",
        "/secretsmanager/get?secretId=" + urllib.parse.quote(name, safe=""),
        headers={"X-Aws-Parameters-Secrets-Token": os.environ["AWS_SESSION_TOKEN"]},
    )
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"cannot read {name}: HTTP {response.status}")
    value = json.loads(json.loads(body)["SecretString"])
    _cache[name] = value, time.monotonic() + TTL
    return value


def handler(event, context):
    """Read a secret."""
    return get_secret("prod/db")["user"]

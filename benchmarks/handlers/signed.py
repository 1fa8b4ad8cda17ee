"""What one writes by hand without the extension: a signed call with the standard library."""

import datetime as dt
import hashlib
import hmac
import http.client
import json
import os
import ssl
import time
import urllib.parse

TTL = 300
_cache = {}
_tls = ssl.create_default_context()


def _signed(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def headers(host, region, body):
    """Return the headers of a call, signature version 4 included."""
    now = dt.datetime.now(dt.UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    sent = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"],
        "x-amz-target": "secretsmanager.GetSecretValue",
    }
    names = ";".join(sent)
    lines = "".join(f"{name}:{value}\n" for name, value in sent.items())
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{day}/{region}/secretsmanager/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = _signed(key, part)
    signature = _signed(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}").hex()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


def get_secret(name):
    """Return a JSON secret from AWS."""
    value, until = _cache.get(name, (None, 0))
    if time.monotonic() < until:
        return value
    region = os.environ["AWS_REGION"]
    endpoint = os.environ.get("AWS_ENDPOINT_URL", f"https://secretsmanager.{region}.amazonaws.com")
    host = urllib.parse.urlsplit(endpoint).netloc
    body = json.dumps({"SecretId": name}).encode()
    connection = http.client.HTTPSConnection(host, timeout=5, context=_tls)
    connection.request("POST", "/", body, headers(host, region, body))
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

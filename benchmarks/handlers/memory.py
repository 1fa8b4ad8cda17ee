"""Handlers with twenty secrets, which tell the peak of their process's memory."""

import importlib
from pathlib import Path

NAMES = [f"prod/secret{index}" for index in range(20)]


def peak():
    """Return the most memory that this process had, in bytes; getrusage counts the parent's."""
    _, _, rest = Path("/proc/self/status").read_text("ascii").partition("VmHWM:")
    return int(rest.split()[0]) * 1024


def bare(event, context):
    """Have no secrets."""
    return peak()


def by_hand(event, context):
    """Read them with http.client."""
    get_secret = importlib.import_module("by_hand").get_secret
    values = [get_secret(name) for name in NAMES]
    return peak() if all(values) else None


def signed(event, context):
    """Read them with signed calls."""
    get_secret = importlib.import_module("signed").get_secret
    values = [get_secret(name) for name in NAMES]
    return peak() if all(values) else None


def with_requests(event, context):
    """Read them with requests."""
    get_secret = importlib.import_module("with_requests").get_secret
    values = [get_secret(name) for name in NAMES]
    return peak() if all(values) else None


def with_boto3(event, context):
    """Read them with boto3."""
    client = importlib.import_module("with_boto3").client
    values = [client.get_secret_value(SecretId=name)["SecretString"] for name in NAMES]
    return peak() if all(values) else None


def with_powertools(event, context):
    """Read them with Powertools."""
    parameters = importlib.import_module("with_powertools").parameters
    values = [parameters.get_secret(name, transform="json", max_age=300) for name in NAMES]
    return peak() if all(values) else None


def with_caching(event, context):
    """Read them with aws-secretsmanager-caching."""
    cache = importlib.import_module("with_caching").cache
    values = [cache.get_secret_string(name) for name in NAMES]
    return peak() if all(values) else None


def ours(event, context):
    """Have them injected."""
    inject_secrets = importlib.import_module("lambda_secrets").inject_secrets
    declared = {f"secret{index}": f"{name}#@" for index, name in enumerate(NAMES)}

    def handler(event, context):
        values = [context.secrets[name] for name in declared]
        return peak() if all(values) else None

    return inject_secrets(declared)(handler)(event, context)

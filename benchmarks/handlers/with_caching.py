"""aws-secretsmanager-caching: its decorator."""

import boto3
from aws_secretsmanager_caching import (
    InjectKeywordedSecretString,
    SecretCache,
    SecretCacheConfig,
)

cache = SecretCache(config=SecretCacheConfig(), client=boto3.client("secretsmanager"))


@InjectKeywordedSecretString("prod/db", cache=cache, user="user")
def handler(event, context, user):
    """Return what was injected."""
    return user

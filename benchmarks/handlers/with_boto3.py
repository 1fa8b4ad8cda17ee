"""boto3 by hand."""

import json

import boto3

client = boto3.client("secretsmanager")


def handler(event, context):
    """Read a secret."""
    return json.loads(client.get_secret_value(SecretId="prod/db")["SecretString"])["user"]

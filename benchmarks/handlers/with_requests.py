"""AWS's sample for the extension: requests.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_lambda.html
"""

import json
import os

import requests


def get_secret(name):
    """Return a JSON secret through the extension."""
    port = os.environ.get("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", "2773")
    response = requests.get(
        f"http://localhost:{port}/secretsmanager/get",
        params={"secretId": name},
        headers={"X-Aws-Parameters-Secrets-Token": os.environ["AWS_SESSION_TOKEN"]},
        timeout=5,
    )
    response.raise_for_status()
    return json.loads(response.json()["SecretString"])


def handler(event, context):
    """Read a secret."""
    return get_secret("prod/db")["user"]

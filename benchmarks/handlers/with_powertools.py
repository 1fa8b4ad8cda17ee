"""Powertools for AWS Lambda: its parameters utility."""

from aws_lambda_powertools.utilities import parameters


def handler(event, context):
    """Read a secret."""
    return parameters.get_secret("prod/db", transform="json", max_age=300)["user"]

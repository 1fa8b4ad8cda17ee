"""The one place that the tests import `LiveSecrets` from."""

from lambda_secrets._live import LiveSecrets

__all__ = ["LiveSecrets"]

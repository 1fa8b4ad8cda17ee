"""moto's server in a process of its own: Secrets Manager and Parameter Store over real HTTP."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.request import Request, urlopen

import boto3

if TYPE_CHECKING:
    from collections.abc import Generator

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class MotoServer(NamedTuple):
    """A running server, which `reset` empties."""

    url: str

    def client(self, service: str) -> Any:
        """Return a client that reads no environment, so that it works before and in any test."""
        return _client(self.url, service)

    def put_secret(self, name: str, value: str | bytes, *, stages: tuple[str, ...] = ()) -> Any:
        """Create a secret, or give it a new version, and return the answer (ARN, VersionId)."""
        client = self.client("secretsmanager")
        content = {"SecretBinary" if isinstance(value, bytes) else "SecretString": value}
        try:
            return client.create_secret(Name=name, **content)
        except client.exceptions.ResourceExistsException:
            staged = {"VersionStages": list(stages)} if stages else {}
            return client.put_secret_value(SecretId=name, **content, **staged)

    def put_parameter(self, name: str, value: str, kind: str = "SecureString") -> None:
        """Create a parameter, or give it a new version."""
        self.client("ssm").put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)

    def reset(self) -> None:
        """Forget everything that tests have created."""
        with urlopen(Request(f"{self.url}/moto-api/reset", method="POST"), timeout=10):  # noqa: S310
            pass


@functools.cache  # creating a client takes a tenth of a second
def _client(url: str, service: str) -> Any:
    session = boto3.Session(
        aws_access_key_id="testing", aws_secret_access_key="testing", region_name="us-east-1"
    )
    return session.client(service, endpoint_url=url)


@contextlib.contextmanager
def running() -> Generator[MotoServer]:
    """Start the server on a port that the system chooses; stop it at the end."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            server = MotoServer(address_in(process.stderr))
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            yield server
        finally:
            process.terminate()
        drain.join()


def address_in(log: IO[str]) -> str:
    """Return the address that the server logs once it listens."""
    pattern = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
    return next(found[1] for line in log if (found := pattern.search(line)))

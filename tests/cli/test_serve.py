"""`lambda-secrets serve`, as a process."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import boto3
import pytest
import requests

from lambda_secrets import resolve_secrets
from lambda_secrets.backends import ExtensionBackend

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.support.moto_server import MotoServer

TOKEN = "CANARY-token"
NODE = shutil.which("node")
CURL = shutil.which("curl")
# As in AWS's sample for Node.js.
NODE_SAMPLE = """
const http = require("http");

const options = {
  hostname: "localhost",
  port: process.env.PARAMETERS_SECRETS_EXTENSION_HTTP_PORT,
  path: "/secretsmanager/get?secretId=" + encodeURIComponent("prod/db"),
  headers: {"X-Aws-Parameters-Secrets-Token": process.env.AWS_SESSION_TOKEN},
  method: "GET",
};
const request = http.request(options, (response) => {
  let body = "";
  response.on("data", (data) => { body += data; });
  response.on("end", () => console.log(JSON.parse(JSON.parse(body).SecretString).user));
});
request.end();
"""


JAVA_SAMPLE = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Sample {
  public static void main(String[] args) throws Exception {
    String port = System.getenv("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT");
    HttpRequest request = HttpRequest.newBuilder()
        .uri(URI.create("http://localhost:" + port + "/secretsmanager/get?secretId=prod/db"))
        .header("X-Aws-Parameters-Secrets-Token", System.getenv("AWS_SESSION_TOKEN"))
        .build();
    HttpClient client = HttpClient.newHttpClient();
    System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
"""


class Served(NamedTuple):
    """A running stand-in: its process, its ports, and the lines of stdout that announced them."""

    process: subprocess.Popen[str]
    ports: list[int]
    lines: list[str]

    def get(
        self, target: str, token: str = TOKEN, *, port: int = 0, host: str = "localhost"
    ) -> tuple[int, str]:
        """Send a GET on a new connection; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=10)
        with contextlib.closing(connection):
            headers = {"X-Aws-Parameters-Secrets-Token": token, "Host": host}
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def line(self) -> str:
        """Return the next line of its stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def exported(self, count: int) -> dict[str, str]:
        """Return the variables that the next lines export, after a comment."""
        assert self.line().startswith("#")
        lines = [self.line() for _ in range(count)]
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Stop the process; return its exit code and its stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors


@contextlib.contextmanager
def serving(*arguments: str, env: Mapping[str, str | None] | None = None) -> Generator[Served]:
    """Run the stand-in on free ports."""
    given = {"AWS_SESSION_TOKEN": TOKEN, **(env or {})}
    variables = {**os.environ, **given}
    with subprocess.Popen(
        [sys.executable, "-m", "lambda_secrets", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in variables.items() if value is not None},
    ) as process:
        try:
            yield _announced(process, appconfig="--secrets" in arguments)
        finally:
            process.terminate()


def _announced(process: subprocess.Popen[str], *, appconfig: bool) -> Served:
    assert process.stdout is not None
    ports, lines = [], []
    for pattern in (r"Serving on port (\d+)\n", r"Serving AppConfig on port (\d+)\n")[
        : 1 + appconfig
    ]:
        lines.append(process.stdout.readline())
        match = re.fullmatch(pattern, lines[-1])
        assert match, process.stderr and process.stderr.read()
        ports.append(int(match[1]))
    return Served(process, ports, lines)


def test_it_serves_a_file_until_it_is_stopped(folder: Path) -> None:
    """The first line has the port; each request logs a line without values or token."""
    del folder
    with serving("--secrets", "secrets.toml") as served:
        status, body = served.get("/secretsmanager/get?secretId=prod/db")
        assert (status, "CANARY-user" in body) == (200, True)
        assert served.get("/secretsmanager/get?secretId=prod/db", "CANARY-wrong")[0] == 401
        flags = "/applications/shop/environments/prod/configurations/flags"
        assert served.get(flags, port=1) == (200, "CANARY-flags-1")
        code, errors = served.stop()
    assert code == 0
    lines = errors.splitlines()
    assert lines[0].startswith("INFO GET /secretsmanager/get secretId=prod/db 200 read ")
    assert lines[1].startswith("ERROR GET /secretsmanager/get secretId=prod/db 401 ")
    assert lines[3] == "INFO stopped"
    assert "CANARY" not in errors + "".join(served.lines)


def test_ctrl_c_stops_it_cleanly(folder: Path) -> None:
    """SIGINT stops it as SIGTERM does, even while a connection is open."""
    del folder
    with (
        serving("--secrets", "secrets.toml") as served,
        socket.create_connection(("127.0.0.1", served.ports[0])),
    ):
        assert served.stop(signal.SIGINT) == (0, "INFO stopped\n")


def test_without_a_token_it_makes_one(folder: Path) -> None:
    """Every variable that a client needs is printed ready to paste, and the token works."""
    del folder
    with serving("--secrets", "secrets.toml", env={"AWS_SESSION_TOKEN": None}) as served:
        exported = served.exported(3)
        assert exported["PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"] == str(served.ports[0])
        assert exported["AWS_APPCONFIG_EXTENSION_HTTP_PORT"] == str(served.ports[1])
        token = exported["AWS_SESSION_TOKEN"]
        assert served.get("/secretsmanager/get?secretId=prod/db", token)[0] == 200
        assert served.get("/secretsmanager/get?secretId=prod/db", "")[0] == 401


@pytest.mark.parametrize(
    ("options", "env", "variable"),
    [
        ([], {"AWS_TOKEN": "another"}, "AWS_SESSION_TOKEN"),
        (["--agent"], {"AWS_TOKEN": TOKEN, "AWS_SESSION_TOKEN": "another"}, "AWS_TOKEN"),
        (["--agent"], {"AWS_TOKEN": "file://token"}, "AWS_TOKEN"),
    ],
)
def test_a_token_of_the_user_is_named_not_printed(
    folder: Path, options: list[str], env: dict[str, str], variable: str
) -> None:
    """The user's token, which may be a real one, is not printed, but the variable that has it."""
    (folder / "token").write_text(TOKEN)
    with serving("--secrets", "secrets.toml", *options, env=env) as served:
        lines = [served.line() for _ in range(4)]
        assert served.get("/secretsmanager/get?secretId=prod/db")[0] == 200
    assert f"# {variable}: as in the environment of this command" in lines
    assert TOKEN not in "".join(lines)
    assert TOKEN not in str(lines)


@pytest.mark.parametrize("port", [0, 1])
def test_a_foreign_host_is_refused(folder: Path, port: int) -> None:
    """A web page that binds its own name to 127.0.0.1 is refused, as it sends another host."""
    del folder
    flags = "/applications/shop/environments/prod/configurations/flags"
    target = flags if port else "/secretsmanager/get?secretId=prod/db"
    with serving("--secrets", "secrets.toml") as served:
        for host, status in (("evil.example:2772", 403), ("LOCALHOST:1", 200), ("[::1]", 200)):
            answered, body = served.get(target, port=port, host=host)
            assert (answered, "CANARY" in body) == (status, status == 200)


def test_debug_logs_the_configuration(folder: Path) -> None:
    """Like the real extension, it logs the variables that are set and the defaults of the rest."""
    del folder
    variables = {"PARAMETERS_SECRETS_EXTENSION_LOG_LEVEL": "debug", "SECRETS_MANAGER_TTL": "60"}
    with serving("--secrets", "secrets.toml", env=variables) as served:
        errors = served.stop()[1].splitlines()
    assert "DEBUG SECRETS_MANAGER_TTL is 60." in errors
    assert (
        "DEBUG SSM_PARAMETER_STORE_TTL is not present. Setting default time-to-live: 5m0s."
    ) in errors


def test_a_changed_file_is_served_a_broken_one_is_not(folder: Path) -> None:
    """Without a cache a change is seen at once; a mistake logs one line and keeps old values."""
    with serving("--secrets", "secrets.toml", env={"SECRETS_MANAGER_TTL": "0"}) as served:
        target = "/secretsmanager/get?secretId=prod/new"
        assert served.get(target)[0] == 400
        (folder / "secrets.toml").write_text('[secrets]\n"prod/new" = "CANARY-new"\n')
        assert "CANARY-new" in served.get(target)[1]
        (folder / "secrets.toml").write_text('[secrets]\n"prod/new" = "CANARY\n')
        assert "CANARY-new" in served.get(target)[1]
        assert "CANARY-new" in served.get(target)[1]
        errors = served.stop()[1]
    (warning,) = [line for line in errors.splitlines() if line.startswith("WARN ")]
    assert "secrets.toml" in warning
    assert "CANARY" not in errors


@pytest.mark.parametrize("ttl", [{}, {"SSM_PARAMETER_STORE_TTL": "300"}])
def test_an_edit_shows_through_the_cache(folder: Path, ttl: dict[str, str]) -> None:
    """An edited file is served at once, unless a TTL is set: then the cache is as in Lambda."""
    flags = "/applications/shop/environments/prod/configurations/flags"
    targets = (("/secretsmanager/get?secretId=prod/db", 0), (flags, 1))
    with serving("--secrets", "secrets.toml", env=ttl) as served:
        for _ in range(2):
            assert all("CANARY" in served.get(target, port=port)[1] for target, port in targets)
        text = (folder / "secrets.toml").read_text()
        (folder / "secrets.toml").write_text(text.replace("CANARY", "EDITED"))
        shown = ["EDITED" in served.get(target, port=port)[1] for target, port in targets]
        lines = served.stop()[1].splitlines()
    assert shown == [not ttl, not ttl]
    assert [line.split()[-3] for line in lines[:-1]] == (
        ["read", "read", "cached", "cached", *["cached" if ttl else "read"] * 2]
    )


def test_the_init_phase_can_be_tried(folder: Path) -> None:
    """With `--init` it first answers that it is not ready, and our client waits."""
    del folder
    with serving("--secrets", "secrets.toml", "--init", "0.4") as served:
        status, body = served.get("/secretsmanager/get?secretId=prod/db")
        assert (status, body) == (400, "not ready to serve traffic, please wait\n")
        backend = ExtensionBackend(port=served.ports[0])
        with contextlib.closing(backend), pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_SESSION_TOKEN", TOKEN)
            assert resolve_secrets({"user": "prod/db#user"}, backend=backend).user == "CANARY-user"
        errors = served.stop()[1]
    assert "INFO not ready to serve traffic for 0.4 s" in errors.splitlines()


def test_a_clamped_variable_is_told(folder: Path) -> None:
    """A TTL over 300 s becomes 300 with one warning, which log level NONE hides."""
    del folder
    for level, lines in (("WARN", 1), ("NONE", 0)):
        variables = {
            "SECRETS_MANAGER_TTL": "400",
            "PARAMETERS_SECRETS_EXTENSION_LOG_LEVEL": level,
        }
        with serving("--secrets", "secrets.toml", env=variables) as served:
            assert served.get("/secretsmanager/get?secretId=prod/db")[0] == 200
            errors = served.stop()[1].splitlines()
        assert errors == ["WARN SECRETS_MANAGER_TTL is over 300: 300 is used."] * lines


def test_it_serves_what_aws_has(moto_server: MotoServer) -> None:
    """`--aws` reads through boto3, from any endpoint; the agent's dialect is served too."""
    moto_server.put_secret("prod/db", "CANARY-db")
    with serving("--aws", "--agent") as served:
        assert served.get("/ping", "") == (200, "healthy")
        status, body = served.get("/v1/prod/db")
        assert (status, json.loads(body)["SecretString"]) == (200, "CANARY-db")
        assert "CANARY" not in served.stop()[1]


@pytest.mark.skipif(CURL is None, reason="curl is not here")
def test_curl_is_served(folder: Path) -> None:
    """Curl reads a secret over localhost."""
    del folder
    assert CURL is not None
    with serving("--secrets", "secrets.toml") as served:
        url = f"http://localhost:{served.ports[0]}/secretsmanager/get?secretId=prod/key"
        header = f"X-Aws-Parameters-Secrets-Token: {TOKEN}"
        command = [CURL, "-sSi", "-H", header, url, url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("HTTP/1.1 200 OK") == 2
    assert done.stdout.count('"SecretBinary":"AAEC","SecretString":null') == 2


def test_requests_is_served_as_in_awss_sample(folder: Path) -> None:
    """AWS's Python sample reads a secret and a parameter."""
    del folder
    with serving("--secrets", "secrets.toml") as served:
        base = f"http://localhost:{served.ports[0]}"
        headers = {"X-Aws-Parameters-Secrets-Token": TOKEN}
        answer = requests.get(
            f"{base}/secretsmanager/get?secretId=prod/db", headers=headers, timeout=10
        )
        assert json.loads(json.loads(answer.text)["SecretString"])["user"] == "CANARY-user"
        answer = requests.get(
            f"{base}/systemsmanager/parameters/get/?name=%2Fprod%2Furl&withDecryption=true",
            headers=headers,
            timeout=10,
        )
        assert answer.json()["Parameter"]["Value"] == "CANARY-url-1"


@pytest.mark.skipif(NODE is None, reason="node is not here")
def test_node_is_served_as_in_awss_sample(folder: Path) -> None:
    """AWS's Node.js sample reads a secret."""
    assert NODE is not None
    (folder / "sample.js").write_text(NODE_SAMPLE)
    with serving("--secrets", "secrets.toml") as served:
        port = str(served.ports[0])
        env = {"PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": port, "AWS_SESSION_TOKEN": TOKEN}
        command = [NODE, "sample.js"]
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, check=True
        )
    assert done.stdout == "CANARY-user\n"


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK is here")
def test_java_is_served(folder: Path) -> None:
    """Java's own client, which offers HTTP/2 in its request, reads a secret."""
    (folder / "Sample.java").write_text(JAVA_SAMPLE)
    with serving("--secrets", "secrets.toml") as served:
        port = str(served.ports[0])
        given = {"PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": port, "AWS_SESSION_TOKEN": TOKEN}
        done = subprocess.run(
            ["java", "Sample.java"],  # noqa: S607 - whichever is here
            cwd=folder,
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            check=True,
        )
    assert json.loads(json.loads(done.stdout)["SecretString"])["user"] == "CANARY-user"


def test_two_hundred_requests_from_twenty_connections(folder: Path) -> None:
    """All two hundred requests from twenty concurrent clients succeed."""
    del folder

    def ask(port: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        statuses = []
        with contextlib.closing(connection):
            for _ in range(10):
                headers = {"X-Aws-Parameters-Secrets-Token": TOKEN}
                connection.request("GET", "/secretsmanager/get?secretId=prod/db", headers=headers)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
        return statuses

    quiet = {"PARAMETERS_SECRETS_EXTENSION_LOG_LEVEL": "NONE"}
    with (
        serving("--secrets", "secrets.toml", env=quiet) as served,
        concurrent.futures.ThreadPoolExecutor(20) as pool,
    ):
        answers = list(pool.map(ask, [served.ports[0]] * 20))
    assert answers == [[200] * 10] * 20


@pytest.mark.parametrize("taken", ["extension", "appconfig"])
def test_a_taken_port_is_one_line(run: Run, taken: str) -> None:
    """The line names the taken port and what to do; the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        variable = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
        env = {variable: port} if taken == "appconfig" else {}
        own = "0" if taken == "appconfig" else port
        result = run("serve", "--secrets", "secrets.toml", "--port", own, env=env)
    choice = variable if taken == "appconfig" else "--port or PARAMETERS"
    assert result.exit_code == 1
    expected = f"Error: Cannot listen on port {port}: Address already in use. Choose another: "
    assert result.stderr.startswith(expected + choice)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_either_variable_is_the_region(moto_server: MotoServer, variable: str) -> None:
    """`--aws` reads from the region that the environment names."""
    region = {"AWS_REGION": None, "AWS_DEFAULT_REGION": None, variable: "eu-west-3"}
    client = boto3.client("secretsmanager", "eu-west-3", endpoint_url=moto_server.url)
    client.create_secret(Name="there", SecretString="CANARY-there")
    with serving("--aws", env=region) as served:
        assert "eu-west-3" in served.get("/secretsmanager/get?secretId=there")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Give either --secrets FILE or --aws."),
        (["--secrets", "secrets.toml", "--aws"], 2, "Give either --secrets FILE or --aws."),
        (["--secrets", "nope.toml"], 2, "Error: Cannot read 'nope.toml': No such file"),
        (["--secrets", "app.py"], 2, "Error: Cannot read 'app.py': it is not TOML"),
        (["--aws"], 1, "Error: Cannot use AWS: You must specify a region."),
        (["--init", "nan"], 2, "'--init': 'nan' is not a valid number of seconds."),
        (["--latency", "1e20"], 2, "Invalid value for '--latency': 1e+20 is not in the range"),
    ],
)
def test_what_cannot_be_served(run: Run, arguments: list[str], code: int, message: str) -> None:
    """The message says why; the exit code tells wrong use from a failure."""
    env = {"AWS_DEFAULT_REGION": None, "AWS_REGION": None}
    result = run("serve", *arguments, env=env)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_token_file_that_is_not_there(run: Run) -> None:
    """The agent's token may be in a file; if the file is missing, nothing is served."""
    env = {"AWS_TOKEN": "file:///nope/token"}
    result = run("serve", "--agent", "--secrets", "secrets.toml", env=env)
    assert result.exit_code == 1
    assert "Error: Cannot read the token: No such file or directory: /nope/token" in result.stderr

"""After SnapStart's hooks, no object of the process holds a value."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.faults import FakeExtension

if TYPE_CHECKING:
    from tests.support.moto_server import MotoServer

ROOT = Path(__file__).parents[2]
SCRIPT = '''
import asyncio, gc, io, json, logging, re, sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated
from awslambdaric.lambda_runtime_hooks_runner import run_after_restore, run_before_snapshot
from lambda_secrets import (
    ResolutionError, Secret, clear_cache, inject_secrets, resolve_secrets,
)
from lambda_secrets.backends import AutoBackend, ExtensionBackend, FileBackend, SdkBackend
from lambda_secrets.logging import RedactSecrets

# A value is recognized by its form: this process is not told any.
FORM, BYTES_FORM = r"zq[0-9a-f]{24}qz", rb"zq[0-9a-f]{24}qz"


def holders():
    """Count the strings of that form that live objects refer to, however deep."""
    found, seen, rest = 0, set(), gc.get_objects()
    while rest:
        one = rest.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, str):
            found += bool(re.search(FORM, one))
        elif isinstance(one, (bytes, bytearray)):
            found += bool(re.search(BYTES_FORM, one))
        else:
            rest += gc.get_referents(one)
    return found


@dataclass
class Login:
    key: str


def checked(text):
    raise ValueError(text)


DECLARED = {
    "text": "prod/text",
    "all": "prod/db#@",
    "nested": "prod/db#key",
    "binary": "prod/binary",
    "made": Secret("prod/text", transform=lambda text: SimpleNamespace(key=text)),
}
BACKENDS = [ExtensionBackend(), SdkBackend(), SdkBackend(batch=True), AutoBackend()]
BACKENDS.append(FileBackend(sys.argv[1]))
redact, log = RedactSecrets(), logging.getLogger("handler")
stream = io.StringIO()
handler = logging.StreamHandler(stream)
handler.addFilter(redact)
log.addHandler(handler)
context = SimpleNamespace()
handlers = []


def run(backend):
    @inject_secrets(DECLARED, backend=backend, refresh_on=KeyError)
    def in_context(event, context):
        log.warning("got %s", context.secrets.text)

    @inject_secrets(DECLARED, backend=backend, into="event", refresh_ahead=300)
    def in_event(event, context):
        log.warning("got %s", event["secrets"].nested)

    @inject_secrets(DECLARED, backend=backend, into="kwargs", ttl=0)
    def in_keywords(event, context, **values):
        log.warning("got %s", values)

    @inject_secrets(backend=backend)
    async def typed(event, context, *, login: Annotated[Login, Secret("prod/db")]):
        log.warning("got %s", login)

    unfit = {"bad": "prod/text#key", "worse": Secret("prod/text", transform=checked)}

    @inject_secrets(unfit, backend=backend)
    def failing(event, context):
        """Never run."""

    for handler in (in_context, in_event, in_keywords):
        handler({}, context)
        handler({}, context)
        handler.secrets.refresh()
    asyncio.run(typed({}, context))
    try:
        failing({}, context)
    except ResolutionError as error:
        log.warning("failed", exc_info=True)
    handlers.extend([in_context, in_event, in_keywords, typed, failing])


for backend in BACKENDS:
    run(backend)
assert resolve_secrets({"it": "prod/text"}, backend=BACKENDS[0])["it"]
before = holders()
run_before_snapshot()
gc.collect()
snapshot = holders()
run_after_restore()
handlers[0]({}, context)
again = holders()
print(json.dumps([before, snapshot, again, bool(re.search(FORM, stream.getvalue()))]))
'''


def canary() -> str:
    """Return a value of the form that the script looks for."""
    return f"zq{secrets.token_hex(12)}qz"


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2),
    reason="the garbage collector of these never ends once asyncio has run",
)
def test_no_live_object_holds_a_value_in_a_snapshot(
    moto_server: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the runtime's before-snapshot hooks, no live object refers to a value."""
    text, db, binary = canary(), json.dumps({"key": canary()}), canary().encode() + b"\xff"
    values: dict[str, Any] = {"prod/text": text, "prod/db": db, "prod/binary": binary}
    for name, value in values.items():
        moto_server.put_secret(name, value)
    file = tmp_path / "secrets.json"
    tables = {
        "secrets": {"prod/text": text, "prod/db": db},
        "binary": {"prod/binary": base64.b64encode(binary).decode()},
    }
    file.write_text(json.dumps(tables))
    with FakeExtension(values) as extension:
        variables = {
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(extension.port),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_SESSION_TOKEN": "testing",
            "PYTHONPATH": str(ROOT),
        }
        for name, variable in variables.items():
            monkeypatch.setenv(name, variable)
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert result.stderr == ""
    before, snapshot, again, logged = json.loads(result.stdout)
    assert before > 20
    assert snapshot == 0
    assert again > 0
    assert not logged

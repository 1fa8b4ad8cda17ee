"""The conversations with AWS that read parameters, trees, configurations and batches of secrets."""

from __future__ import annotations

import functools
import json
import time

from .._values import opaque
from ..errors import BackendError, BackendUnavailableError, ResolutionError, SecretNotFoundError
from . import Answer
from ._calls import Call, read_in, secret
from ._decode import is_named, secret_answer
from ._other_values import parameter_answer, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._sources import Source
    from ._calls import Conversations
    from ._http import Reply
    from ._types import Answers, Hidden, Result, Talk, Task

PARAMETERS_A_CALL, SECRETS_A_CALL = 10, 20  # the services' limits
POLL_INTERVAL = 15  # seconds, the shortest that AppConfig accepts


def other_tasks(memory: Conversations, sources: list[Source]) -> list[Task]:
    """Return the conversations to hold, each with its sources."""
    tasks: list[Task] = []
    batches: list[list[Source]] = []
    chunks: list[list[Source]] = []
    for source in sources:
        if source.kind == "parameter":
            _add_to_chunk(chunks, source, PARAMETERS_A_CALL)
        elif source.kind == "tree":
            tasks.append((tree, [source]))
        elif source.kind == "appconfig":
            tasks.append((functools.partial(configuration, memory), [source]))
        elif source.versioned:
            tasks.append((secret, [source]))
        else:
            _add_to_chunk(batches, source, SECRETS_A_CALL)
    tasks.extend((secrets, batch) for batch in batches)
    tasks.extend((parameters, chunk) for chunk in chunks)
    return tasks


def configuration(memory: Conversations, sources: list[Source]) -> Talk:
    """Poll within a session; each answer renews its token, and an empty one means unchanged."""
    (source,) = sources
    # Out of the table while it is used: each token is good for one call.
    session = memory.configurations.pop(source, None)
    token, known, poll_at = session or ("", None, 0.0)
    if session is not None and known is not None and time.monotonic() < poll_at:
        memory.configurations[source] = session
        return {source: known}
    page: ResolutionError | Hidden | None = None
    if token:
        page = yield _latest(source, token)
        if isinstance(page, BackendUnavailableError):
            return {source: page}
    if page is None or isinstance(page, ResolutionError):
        known = None  # there is no session yet, or its token has expired
        names = ("Application", "Environment", "ConfigurationProfile")
        arguments: dict[str, Any] = {
            f"{name}Identifier": part for name, part in zip(names, source.parts, strict=True)
        }
        arguments["RequiredMinimumPollIntervalInSeconds"] = POLL_INTERVAL
        page = yield Call("appconfigdata", "StartConfigurationSession", source, arguments)
        if isinstance(page, ResolutionError):
            return {source: page}
        token = page(0).get("InitialConfigurationToken")
        if not token:
            return {source: BackendError("AWS began no session of AppConfig. Try again.")}
        page = yield _latest(source, token)
        if isinstance(page, ResolutionError):
            return {source: page}
    if page(0)["Configuration"] or known is None:
        version = page(0).get("VersionLabel")
        known = Answer(text_of(page(0)["Configuration"]), version=version)
    seconds = float(page(0).get("NextPollIntervalInSeconds") or 0)
    known.upstream_ttl = seconds
    token = str(page(0).get("NextPollConfigurationToken") or "")
    memory.configurations[source] = token, known, time.monotonic() + seconds
    return {source: known}


def http_of(call: Call) -> tuple[str, str, bytes, dict[str, str]]:
    """Return method, path with query, body and more headers of a call of AppConfig.

    Its data plane is REST, where the other services have JSON:
    https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_Operations_AWS_AppConfig_Data.html
    """
    if call.operation == "StartConfigurationSession":
        body = json.dumps(call.arguments).encode()
        return "POST", "/configurationsessions", body, {"content-type": "application/json"}
    from ._extension import encoded

    token = encoded(call.arguments["ConfigurationToken"])
    return "GET", f"/configuration?configuration_token={token}", b"", {}


def document_in(reply: Reply) -> Hidden:
    """Return the answer of GetLatestConfiguration as the SDK would have it, hidden."""
    interval = reply.headers.get("next-poll-interval-in-seconds", "")
    return opaque(
        {
            "Configuration": reply.body,
            "NextPollConfigurationToken": reply.headers.get("next-poll-configuration-token"),
            "NextPollIntervalInSeconds": int(interval) if interval.isdecimal() else 0,
            "VersionLabel": reply.headers.get("version-label"),
        }
    )


def singly(tasks: list[Task], answers: Answers) -> list[Task]:
    """Return the tasks to do again source by source.

    One name that is denied or malformed fails a whole call: the others in it are good.
    """
    return [
        (secret if talk is secrets else talk, [source])
        for talk, sources in tasks
        if len(sources) > 1
        and isinstance(failure := answers.get(sources[0]), ResolutionError)
        and not isinstance(failure, BackendUnavailableError)
        and all(answers.get(source) is failure for source in sources)
        for source in sources
    ]


def secrets(sources: list[Source]) -> Talk:
    """Read up to twenty current secrets."""
    answers: Answers = {}
    arguments: dict[str, Any] = {"SecretIdList": [source.name for source in sources]}
    while True:
        page = yield Call("secretsmanager", "BatchGetSecretValue", sources[0], arguments)
        if isinstance(page, ResolutionError):
            return dict.fromkeys(sources, page)
        for source in sources:
            answer = _among(page, source)
            if answer is not None:
                answers[source] = answer
        if not page(0).get("NextToken"):
            break
        arguments = {**arguments, "NextToken": page(0)["NextToken"]}
    for source in sources:
        if source not in answers:  # not named as it was asked for: a call of its own tells
            answers.update((yield from secret([source])))
    return answers


def _among(page: Hidden, source: Source) -> Result | None:
    """Return what a page of a batch says about a source, if it does."""
    asked = "ARN" if source.name.startswith("arn:") else "Name"
    for item in map(opaque, page(0).get("SecretValues") or ()):
        if item(0).get(asked) and is_named(source.name, item(0)):
            return read_in(item, secret_answer)
    for error in page(0).get("Errors") or ():
        if error.get("SecretId") == source.name:
            from ._refusals import by_code

            code, message = str(error.get("ErrorCode")), str(error.get("Message") or "")
            return by_code(code, "secret", message=message)
    return None


def parameters(sources: list[Source]) -> Talk:
    """Read up to ten parameters, each name once."""
    names = [
        source.name
        + (f":{source.version}" if source.version is not None else "")
        + (f":{source.label}" if source.label is not None else "")
        for source in sources
    ]
    arguments = {"Names": names, "WithDecryption": sources[0].decrypt}
    page = yield Call("ssm", "GetParameters", sources[0], arguments)
    if isinstance(page, ResolutionError):
        return dict.fromkeys(sources, page)
    found = {
        _base(item.get("Name") or ""): opaque(item) for item in page(0).get("Parameters") or ()
    }
    missing = {_base(name).partition(":")[0] for name in page(0).get("InvalidParameters") or ()}
    answers: Answers = {}
    for source in sources:
        base = _base(source.name)
        if base in found:
            answers[source] = read_in(found[base], parameter_answer)
        elif base in missing:
            from ._refusals import by_code

            answers[source] = by_code("ParameterNotFound", "parameter")
        elif len(sources) > 1:  # it has another name there: a call of its own tells
            answers.update((yield from parameters([source])))
        elif len(found) == 1:
            (only,) = found.values()
            answers[source] = read_in(only, parameter_answer)
        else:
            answers[source] = BackendError("AWS answered nothing for it. Try again.")
    return answers


def tree(sources: list[Source]) -> Talk:
    """Read all parameters below a path, page by page."""
    (source,) = sources
    below = opaque({})
    arguments: dict[str, Any] = {
        "Path": source.name,
        "Recursive": source.recursive,
        "WithDecryption": source.decrypt,
        "MaxResults": PARAMETERS_A_CALL,
    }
    while True:
        page = yield Call("ssm", "GetParametersByPath", source, arguments)
        if isinstance(page, ResolutionError):
            return {source: page}
        for item in map(opaque, page(0).get("Parameters") or ()):
            answer = read_in(item, parameter_answer)
            if isinstance(answer, ResolutionError):
                return {source: answer}
            below(0)[str(item(0).get("Name")).removeprefix(source.name)] = answer.value
        if not page(0).get("NextToken"):
            break
        arguments = {**arguments, "NextToken": page(0)["NextToken"]}
    if not below(0):
        return {source: SecretNotFoundError("no parameter is below that path. Check the path.")}
    return {source: Answer(below(0))}


def _latest(source: Source, token: str) -> Call:
    arguments = {"ConfigurationToken": token}
    return Call("appconfigdata", "GetLatestConfiguration", source, arguments)


def _base(name: str) -> str:
    """Return a parameter's name alone, for a name or an ARN."""
    return name.rpartition(":parameter/")[2].lstrip("/")


def _add_to_chunk(chunks: list[list[Source]], source: Source, limit: int) -> None:
    """Add it to the first call that takes it: two versions of one name cannot be told apart."""
    for chunk in chunks:
        alike = (chunk[0].region, chunk[0].decrypt) == (source.region, source.decrypt)
        is_new = all(_base(other.name) != _base(source.name) for other in chunk)
        if alike and is_new and len(chunk) < limit:
            chunk.append(source)
            return
    chunks.append([source])

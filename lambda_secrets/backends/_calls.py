"""The conversations with AWS that read sources: which operations, and what their answers mean.

Each is a job that gets a function to make a `Call`, which returns a document or an error: `_aws`
makes it over HTTP, `_sdk` through boto3.
"""

from __future__ import annotations

import functools
import time

from .._values import Shared, opaque
from ..errors import BackendError, BackendUnavailableError, ResolutionError, SecretNotFoundError
from . import Answer, own_region
from ._decode import is_named, parameter_answer, secret_answer, text_of
from ._endpoints import SERVICES
from ._states import ExpiredError, UnaskedError, retried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from .._names import Opaque
    from .._sources import Source
    from ._types import Answers, Decode, Job, Result, Sources

    Make: TypeAlias = Callable[["Call"], Job]
    """Makes a call, and returns a hidden document or an error."""
    Talk: TypeAlias = Callable[[list[Source], Make], Job]
    """A conversation with AWS, which returns answers for these sources."""
    Task: TypeAlias = tuple[Talk, list[Source]]

PARAMETERS_A_CALL, SECRETS_A_CALL = 10, 20  # the services' limits
POLL_INTERVAL = 15  # seconds, the shortest that AppConfig accepts


class Call:
    """One operation of AWS, to be made in a region ("" for the function's own)."""

    def __init__(self, operation: str, source: Source, arguments: dict[str, Any]) -> None:
        self.operation = operation
        self.kind = source.kind
        self.service = SERVICES[source.kind]
        self.region = source.region
        self.arguments = opaque(arguments)  # it may hold the token of a poll


class ConversingBackend(Shared):
    """Reads sources in as few operations as possible; remembers sessions of AppConfig."""

    _run: Callable[[list[Task], float], Answers]
    """Has conversations side by side until a deadline; sources share the error of a call."""
    _made: Callable[..., Job]
    """Makes a `Call` once; the other arguments are those of `_jobs`."""

    def __init__(self, *, batch: bool, region: str | None = None) -> None:
        if not isinstance(batch, bool) or not (region is None or isinstance(region, str)):
            from .._options import wrong_aws_option

            raise wrong_aws_option(batch=batch, region=region)
        self._batch, self._region = batch, region
        # The hidden token of the next poll, the last answer, and when to poll again.
        self._configurations: dict[Source, list[Any]] = {}

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Read the sources by parallel calls; retry transient failures within the timeout."""
        deadline = time.monotonic() + timeout
        sources = list(sources)
        for source in sources if fresh else ():
            self._configurations.pop(source, None)
        tasks = self._tasks(sources)
        answers = self._run(tasks, deadline)
        alone = [
            (secret if talk is secrets else talk, [source])
            for talk, together in tasks
            for source in together
            if source not in answers
        ]
        if alone and time.monotonic() < deadline:
            answers |= self._run(alone, deadline)
        answers = {source: answers.get(source) or late() for source in sources}
        for source, answer in answers.items():
            if type(answer) is not Answer:  # its session, if it has one, is of no use
                self._configurations.pop(source, None)
            if isinstance(answer, SecretNotFoundError):
                from ._refusals import missing_in

                answers[source] = missing_in(self._region_of(source), source, answer)
        return answers

    def _jobs(self, tasks: list[Task], deadline: float, *given: object) -> dict[Any, Job]:
        """Return the conversations as jobs, whose calls are made again until the deadline."""

        def make(call: Call) -> Job:
            return retried(functools.partial(self._made, call, *given), deadline)

        return {n: conversation(*task, make) for n, task in enumerate(tasks)}

    def _region_of(self, asked: Source | Call) -> str:
        """Return the region in which a source is read, or a call is made; empty if unknown."""
        return asked.region or self._region or own_region()

    def close(self) -> None:
        """Forget the configurations; the next fetch begins new sessions."""
        self._configurations = {}

    def _forget_configurations(self, gone: Callable[[Source], bool]) -> None:
        """Forget these configurations: the cache was cleared, and says which."""
        for source in filter(gone, list(self._configurations)):
            self._configurations.pop(source, None)

    def _tasks(self, sources: Sources) -> list[Task]:
        """Return the conversations to run, each with its sources."""
        tasks: list[Task] = []
        batches: list[list[Source]] = []
        chunks: list[list[Source]] = []
        for source in sources:
            if source.kind == "parameter":
                _add_to_call(chunks, source, PARAMETERS_A_CALL)
            elif source.kind == "tree":
                tasks.append((tree, [source]))
            elif source.kind == "appconfig":
                tasks.append((self._configuration, [source]))
            elif source.versioned or not self._batch:
                tasks.append((secret, [source]))
            else:
                _add_to_call(batches, source, SECRETS_A_CALL)
        tasks += [(secrets, batch) for batch in batches]
        tasks += [(parameters, chunk) for chunk in chunks]
        return tasks

    def _configuration(self, sources: list[Source], make: Make) -> Job:
        """Poll within a session; answers bring the next token, and an empty value if unchanged."""
        (source,) = sources
        # Filled in at the end, and of use only if neither a later read nor `close` has replaced it:
        # so no older value comes back. Empty while in use: a token is valid for one call.
        kept: list[Any] = [opaque(""), None, 0.0]
        hidden, known, poll_at = self._configurations.get(source, kept)
        if known is not None and time.monotonic() < poll_at:
            return {source: known}
        self._configurations[source] = kept
        while True:
            if not hidden(0):
                known = None
                names = ("Application", "Environment", "ConfigurationProfile")
                arguments: dict[str, Any] = {
                    f"{name}Identifier": part
                    for name, part in zip(names, source.parts, strict=True)
                }
                arguments["RequiredMinimumPollIntervalInSeconds"] = POLL_INTERVAL
                page = yield from make(Call("StartConfigurationSession", source, arguments))
                if isinstance(page, ResolutionError):
                    return {source: page}
                hidden = opaque(page(0).get("InitialConfigurationToken"))
                if not hidden(0):
                    failure = BackendError("AWS did not start an AppConfig session. Try again.")
                    return {source: failure}
            poll = Call("GetLatestConfiguration", source, {"ConfigurationToken": hidden(0)})
            page = yield from make(poll)
            if not isinstance(page, ResolutionError):
                break
            if known is None or isinstance(page, BackendUnavailableError):
                return {source: page}
            hidden = opaque("")  # the token has expired
        if page(0)["Configuration"] or known is None:
            version = page(0).get("VersionLabel")
            known = Answer(text_of(page(0)["Configuration"]), version=version)
        known.upstream_ttl = float(page(0).get("NextPollIntervalInSeconds") or 0)
        hidden = opaque(str(page(0).get("NextPollConfigurationToken") or ""))
        kept[:] = hidden, known, time.monotonic() + known.upstream_ttl
        return {source: known}


def late() -> BackendUnavailableError:
    """Return the error of a source that was not read before the deadline."""
    return BackendUnavailableError(
        "AWS did not answer in time. Check the network path to its endpoint, or raise timeout."
    )


def conversation(talk: Talk, sources: list[Source], make: Make) -> Job:
    """Have a conversation. Sources that its answers leave out should be read alone."""
    try:
        return (yield from talk(sources, make))
    except (AttributeError, LookupError, TypeError, ValueError):
        pass  # its message may quote a value
    failure = BackendError("AWS answered in an unexpected form. Check AWS_ENDPOINT_URL.")
    return _of_call(sources, failure, alone=len(sources) == 1)


def _of_call(sources: list[Source], failure: ResolutionError, *, alone: bool) -> Answers:
    """Return the answers of a failed call: none if its sources should be read alone.

    One denied or malformed name fails a whole call, though its other names may be good.
    """
    is_shared = isinstance(failure, (BackendUnavailableError, ExpiredError, UnaskedError))
    return dict.fromkeys(sources, failure) if alone or is_shared else {}


def secret(sources: list[Source], make: Make) -> Job:
    """Read one secret."""
    (source,) = sources
    arguments = {"SecretId": source.name}
    if source.version_id is not None:
        arguments["VersionId"] = source.version_id
    if source.version_stage is not None:
        arguments["VersionStage"] = source.version_stage
    document = yield from make(Call("GetSecretValue", source, arguments))
    if not (isinstance(document, ResolutionError) or is_named(source.name, document(0))):
        document = BackendError(
            "AWS answered with another secret. Check the proxy and AWS_ENDPOINT_URL."
        )
    return {source: _read_in(document, secret_answer)}


def secrets(sources: list[Source], make: Make) -> Job:
    """Read up to twenty current secrets."""
    arguments = {"SecretIdList": [source.name for source in sources]}
    pages = yield from _pages(make, "BatchGetSecretValue", sources[0], arguments)
    if isinstance(pages, ResolutionError):
        return _of_call(sources, pages, alone=False)
    answers: Answers = {}
    for page in pages:
        for error in page(0).get("Errors") or ():
            from ._refusals import by_code

            code, message = str(error.get("ErrorCode")), str(error.get("Message") or "")
            failure = by_code(code, "secret", message=message)
            if not isinstance(failure, BackendUnavailableError):
                answers |= {s: failure for s in sources if s.name == error.get("SecretId")}
        for item in map(opaque, page(0).get("SecretValues") or ()):
            for source in sources:
                known = item(0).get("ARN" if source.name.startswith("arn:") else "Name")
                if known and is_named(source.name, item(0)):
                    answers[source] = _read_in(item, secret_answer)
    return answers


def parameters(sources: list[Source], make: Make) -> Job:
    """Read up to ten parameters with different names."""
    selected = [(source.name, source.version, source.label) for source in sources]
    names = [":".join(str(part) for part in parts if part is not None) for parts in selected]
    arguments = {"Names": names, "WithDecryption": sources[0].decrypt}
    page = yield from make(Call("GetParameters", sources[0], arguments))
    is_alone = len(sources) == 1
    if isinstance(page, ResolutionError):
        return _of_call(sources, page, alone=is_alone)
    found = {
        _base(item.get("Name") or ""): opaque(item) for item in page(0).get("Parameters") or ()
    }
    missing = {_base(name).partition(":")[0] for name in page(0).get("InvalidParameters") or ()}
    answers: Answers = {}
    for source in sources:
        base = _base(source.name)
        if is_alone and len(found) == 1:  # it may be named differently
            (base,) = found
        if base in found:
            answers[source] = _read_in(found[base], parameter_answer)
        elif base in missing:
            from ._refusals import by_code

            answers[source] = by_code("ParameterNotFound", "parameter")
        elif is_alone:
            answers[source] = BackendError("AWS answered without this parameter. Try again.")
    return answers


def tree(sources: list[Source], make: Make) -> Job:
    """Read all parameters below a path."""
    (source,) = sources
    arguments: dict[str, Any] = {
        "Path": source.name,
        "Recursive": source.recursive,
        "WithDecryption": source.decrypt,
        "MaxResults": PARAMETERS_A_CALL,
    }
    pages = yield from _pages(make, "GetParametersByPath", source, arguments)
    if isinstance(pages, ResolutionError):
        return {source: pages}
    below = opaque({})
    for page in pages:
        for item in map(opaque, page(0).get("Parameters") or ()):
            answer = _read_in(item, parameter_answer)
            if isinstance(answer, ResolutionError):
                return {source: answer}
            name = "/" + str(item(0).get("Name") or "").lstrip("/")  # the first slash is optional
            rest = name.removeprefix(source.name)
            if rest in {"", name}:
                problem = "AWS answered with a parameter of another path. Check AWS_ENDPOINT_URL."
                return {source: BackendError(problem)}
            below(0)[rest] = answer.value
    if not below(0):
        return {source: SecretNotFoundError("there are no parameters below it. Check the path.")}
    return {source: Answer(below(0))}


def _pages(make: Make, operation: str, source: Source, arguments: dict[str, Any]) -> Job:
    """Make a call for each page of an answer; return all pages, or the first error."""
    pages: list[Opaque] = []
    while True:
        page = yield from make(Call(operation, source, arguments))
        if isinstance(page, ResolutionError):
            return page
        pages.append(page)
        if not page(0).get("NextToken"):
            return pages
        arguments = {**arguments, "NextToken": page(0)["NextToken"]}


def _read_in(document: ResolutionError | Opaque, decode: Decode) -> Result:
    """Decode the value in a document; return an error unchanged."""
    if isinstance(document, ResolutionError):
        return document
    try:
        answer = decode(document(0))
    except (AttributeError, TypeError, ValueError):
        answer = None
    return answer or BackendError("AWS answered without a value. Try again.")


def _base(name: str) -> str:
    """Return a parameter's name without the ARN before it and without leading slashes."""
    return name.rpartition(":parameter/")[2].lstrip("/")


def _add_to_call(calls: list[list[Source]], source: Source, limit: int) -> None:
    """Add a source to the first call with room; two versions of one name need two calls."""
    for call in calls:
        alike = (call[0].region, call[0].decrypt) == (source.region, source.decrypt)
        is_new = all(_base(other.name) != _base(source.name) for other in call)
        if alike and is_new and len(call) < limit:
            call.append(source)
            return
    calls.append([source])

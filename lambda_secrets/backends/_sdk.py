"""Reads through the AWS SDK: Secrets Manager, Parameter Store and AppConfig's data plane."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

from ..errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    ResolutionError,
    SecretNotFoundError,
)
from . import Answer
from ._botocore_log import quiet, silence
from ._codes import class_of, is_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from .._declarations import Source

    Answers: TypeAlias = dict[Source, Answer | ResolutionError]
    Call: TypeAlias = Callable[[list[Source]], Answers]
    Job: TypeAlias = tuple[Call, list[Source]]

PARALLEL = 20  # calls at once
CONNECT_TIMEOUT, READ_TIMEOUT = 2, 5  # seconds; a round's timeout bounds both
PARAMETERS_A_CALL, SECRETS_A_CALL = 10, 20  # the services' limits

_ACTIONS = {
    "secret": "secretsmanager:GetSecretValue",
    "parameter": "ssm:GetParameters",
    "tree": "ssm:GetParametersByPath",
    "appconfig": "appconfig:StartConfigurationSession and appconfig:GetLatestConfiguration",
}
_EXPIRED = ": the credentials have expired. Renew them."
_UNKNOWN = ": it does not know these credentials. Check where boto3 finds them."
_ADVICE = {
    "DecryptionFailure": ": its KMS key cannot decrypt it. Look if the key is enabled.",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "InvalidRequestException": ": the secret may be scheduled for deletion. Look at it.",
    "InvalidSignatureException": _UNKNOWN,
    "SignatureDoesNotMatch": _UNKNOWN,
    "UnrecognizedClientException": _UNKNOWN,
}


class SdkBackend:
    """AWS itself, through boto3 or what it is built on, which is imported on first use.

    Args:
        client: a Secrets Manager client of your own.
        session: a boto3 session that clients are made from; by default one of botocore, which
            boto3 is built on: that alone takes a fifth less of a cold start.
        batch: read current secrets by ``BatchGetSecretValue``, twenty a call. It has a quota of 100
            calls a second in an account, and needs its own permission on ``*`` beside
            ``GetSecretValue`` on each secret.
        parameter_client: an SSM client of your own.
        appconfig_client: an AppConfig Data client of your own.
    """

    name = "sdk"

    def __init__(
        self,
        *,
        client: Any = None,
        session: Any = None,
        batch: bool = False,
        parameter_client: Any = None,
        appconfig_client: Any = None,
    ) -> None:
        """Make no client yet.

        Raises:
            DeclarationError: when batch is no bool.
        """
        if not isinstance(batch, bool):
            raise DeclarationError(
                f"Cannot read through the SDK: batch {batch!r} is no bool. Use True or False."
            )
        given = {
            "secretsmanager": client,
            "ssm": parameter_client,
            "appconfigdata": appconfig_client,
        }
        self._given = {service: own for service, own in given.items() if own is not None}
        self._given_session = session
        self._session = session
        self._batch = batch
        self._clients: dict[str, Any] = dict(self._given)
        self._configurations: dict[Source, tuple[str, Answer]] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Answers:
        """Read the sources by parallel calls; what has not answered in time has failed."""
        if self._pid != os.getpid():  # after a fork the connections are the parent's
            self._lock = threading.Lock()
            self._pid = os.getpid()
            self.close()
        deadline = time.monotonic() + timeout
        wanted = list(sources)
        if fresh:
            for source in wanted:
                self._configurations.pop(source, None)
        jobs = self._jobs(wanted)
        results = self._run(jobs, deadline)
        # One name that is denied or malformed fails the whole call: the others are good.
        singly = [
            (self._secret if call == self._secrets else call, [source])
            for call, some in jobs
            if _refused_together(some, results)
            for source in some
        ]
        alone = self._run(singly, deadline)
        asked_alone = {source for _, (source,) in singly}
        late = BackendUnavailableError(
            "AWS did not answer in time. Check the network path to its endpoint, or raise timeout."
        )
        return {
            source: (alone if source in asked_alone else results).get(source, late)
            for source in wanted
        }

    def close(self) -> None:
        """Let go of clients, connections and configurations; the next fetch makes new ones."""
        for client in self._clients.values():
            client.close()  # its connection pool; a client of your own stays usable
        self._clients = dict(self._given)
        self._session = self._given_session
        self._configurations = {}

    def _jobs(self, sources: list[Source]) -> list[Job]:
        """Return the calls to make, each with its sources."""
        jobs: list[Job] = []
        batch: list[Source] = []
        chunks: dict[bool, list[dict[str, Source]]] = {True: [], False: []}
        for source in sources:
            if source.kind == "tree":
                jobs.append((self._tree, [source]))
            elif source.kind == "appconfig":
                jobs.append((self._configuration, [source]))
            elif source.kind == "parameter":
                _add_to_chunk(chunks[source.decrypt], source)
            elif self._batch and not source.versioned:
                batch.append(source)
            else:
                jobs.append((self._secret, [source]))
        starts = range(0, len(batch), SECRETS_A_CALL)
        jobs.extend((self._secrets, batch[start : start + SECRETS_A_CALL]) for start in starts)
        calls = (*chunks[True], *chunks[False])
        jobs.extend((self._parameters, list(chunk.values())) for chunk in calls)
        return jobs

    def _run(self, jobs: list[Job], deadline: float) -> Answers:
        """Return what the calls answer until then, on daemon threads: a hanging one is left."""
        results: Answers = {}
        waiting = deque(jobs)
        finished = threading.Semaphore(0)

        def work() -> None:
            with quiet():
                while True:
                    try:
                        call, some = waiting.popleft()
                    except IndexError:  # nothing is left, or another thread was faster
                        break
                    results.update(_called(call, some))
                    finished.release()

        for n in range(min(len(jobs), PARALLEL)):
            try:
                threading.Thread(target=work, name="lambda_secrets sdk", daemon=True).start()
            except RuntimeError:  # no more threads: those that there are do it, or this one
                if n == 0:
                    work()
                break
        for _ in jobs:
            if not finished.acquire(timeout=max(deadline - time.monotonic(), 0)):
                waiting.clear()
                break
        return results

    def _client(self, service: str) -> Any:
        silence()  # before a client is made: that may fetch credentials
        with self._lock:  # making clients from one session is not thread-safe
            if service not in self._clients:
                from botocore.config import Config

                config = Config(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=READ_TIMEOUT,
                    max_pool_connections=PARALLEL,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    user_agent_extra="lib/lambda-secrets",
                )
                if self._session is None:
                    from ._session import own_session

                    self._session = own_session()
                make = getattr(self._session, "client", None) or self._session.create_client
                self._clients[service] = make(service, config=config)
            return self._clients[service]

    def _secret(self, sources: list[Source]) -> Answers:
        (source,) = sources
        options = {"VersionId": source.version_id, "VersionStage": source.version_stage}
        return {
            source: _secret_answer(
                self._client("secretsmanager").get_secret_value(
                    SecretId=source.name,
                    **{option: value for option, value in options.items() if value is not None},
                )
            )
        }

    def _secrets(self, sources: list[Source]) -> Answers:
        client = self._client("secretsmanager")
        names = [source.name for source in sources]
        answers: Answers = {}
        token: dict[str, str] = {}
        while True:
            page = client.batch_get_secret_value(SecretIdList=names, **token)
            for source in sources:
                for secret in page.get("SecretValues", ()):
                    if _is_named(source.name, secret["Name"], secret["ARN"]):
                        answers[source] = _secret_answer(secret)
                for error in page.get("Errors", ()):
                    if error.get("SecretId") == source.name:
                        code, message = error.get("ErrorCode", ""), error.get("Message", "")
                        answers[source] = _coded_failure(code, "secret", message=message)
            if not page.get("NextToken"):
                break
            token = {"NextToken": page["NextToken"]}
        # What it does not name as it was asked for, a call of its own tells.
        rest = [source for source in sources if source not in answers]
        return answers | {source: _called(self._secret, [source])[source] for source in rest}

    def _parameters(self, sources: list[Source]) -> Answers:
        selected = {
            source: source.name
            + (f":{source.version}" if source.version is not None else "")
            + (f":{source.label}" if source.label is not None else "")
            for source in sources
        }
        page = self._client("ssm").get_parameters(
            Names=list(selected.values()), WithDecryption=sources[0].decrypt
        )
        found = {_base(parameter["Name"]): parameter for parameter in page["Parameters"]}
        missing = {_base(name).partition(":")[0] for name in page.get("InvalidParameters", ())}
        answers: Answers = {}
        for source in sources:
            base = _base(source.name)
            if base in found:
                answers[source] = _parameter_answer(found[base])
            elif base in missing:
                answers[source] = _coded_failure("ParameterNotFound", "parameter")
            elif len(sources) > 1:  # it has another name there: a call of its own tells
                answers.update(_called(self._parameters, [source]))
            elif len(found) == 1:
                answers[source] = _parameter_answer(*found.values())
            else:
                answers[source] = BackendError("AWS answered nothing for it. Try again.")
        return answers

    def _tree(self, sources: list[Source]) -> Answers:
        (source,) = sources
        client = self._client("ssm")
        tree: dict[str, Any] = {}
        token: dict[str, str] = {}
        while True:
            page = client.get_parameters_by_path(
                Path=source.name,
                Recursive=source.recursive,
                WithDecryption=source.decrypt,
                MaxResults=PARAMETERS_A_CALL,
                **token,
            )
            for parameter in page["Parameters"]:
                tree[parameter["Name"].removeprefix(source.name)] = _parameter(parameter)
            if not page.get("NextToken"):
                break
            token = {"NextToken": page["NextToken"]}
        if not tree:
            return {source: SecretNotFoundError("no parameter is below that path. Check the path.")}
        return {source: Answer(tree)}

    def _configuration(self, sources: list[Source]) -> Answers:
        """Poll within a session; each answer renews its token, and an empty one means unchanged."""
        from botocore.exceptions import ClientError

        (source,) = sources
        client = self._client("appconfigdata")
        # Out of the table while it is used: each token is good for one call.
        token, known = self._configurations.pop(source, ("", None))
        page = None
        if token:
            try:
                page = client.get_latest_configuration(ConfigurationToken=token)
            except ClientError as error:
                if error.response["Error"]["Code"] != "BadRequestException":
                    raise
                known = None  # the token has expired: start again
        if page is None:
            application, environment, profile = source.parts
            token = client.start_configuration_session(
                ApplicationIdentifier=application,
                EnvironmentIdentifier=environment,
                ConfigurationProfileIdentifier=profile,
            )["InitialConfigurationToken"]
            page = client.get_latest_configuration(ConfigurationToken=token)
        body = page["Configuration"].read()
        if body or known is None:
            try:
                known = Answer(body.decode(), version=page.get("VersionLabel"))
            except UnicodeDecodeError:
                known = Answer(body, version=page.get("VersionLabel"))
        self._configurations[source] = (page["NextPollConfigurationToken"], known)
        return {source: known}


def _called(call: Call, sources: list[Source]) -> Answers:
    try:
        return call(sources)
    except Exception as error:  # noqa: BLE001 - every error of botocore becomes one of ours
        failure = failure_of(error, sources[0].kind)
    return dict.fromkeys(sources, failure)


def _refused_together(sources: list[Source], results: Answers) -> bool:
    """Whether a call for several failed as one, for a reason that may be that of one of them."""
    failure = results.get(sources[0])
    return (
        len(sources) > 1
        and isinstance(failure, ResolutionError)
        and not isinstance(failure, BackendUnavailableError)
        and all(results.get(source) is failure for source in sources)
    )


def failure_of(error: Exception, kind: str) -> ResolutionError:
    """Return our error for one of botocore's, whose own message may quote a reply."""
    name = type(error).__name__
    if isinstance(error, ImportError):
        return BackendError(f"boto3 cannot be imported ({name}). Install it, or use the extension.")
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        answer = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _coded_failure(
            str(answer.get("Code", "")), kind, status=status, message=str(answer.get("Message", ""))
        )
    unreachable = (
        exceptions.CapacityNotAvailableError,
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        OSError,
    )
    if isinstance(error, unreachable):
        return BackendUnavailableError(
            f"AWS cannot be reached ({name}). Look at the network path to its endpoint."
        )
    if isinstance(error, (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError)):
        return BackendUnavailableError(f"boto3 could not get its credentials ({name}). Try again.")
    if isinstance(error, exceptions.NoCredentialsError):
        return BackendError(
            "boto3 finds no credentials. Run with the function's role, or set them."
        )
    if isinstance(error, exceptions.NoRegionError):
        return BackendError("boto3 knows no region. Set AWS_REGION.")
    return BackendError(f"boto3 raised {name} (its message is withheld). Look at its settings.")


def _coded_failure(code: str, kind: str, *, status: int = 0, message: str = "") -> ResolutionError:
    said = code if is_code(code) else f"HTTP {status}"
    our = class_of(code, status)
    if our is SecretNotFoundError:
        return our(f"AWS has no such {kind} or version ({code}). Check the name and the region.")
    if our is AccessDeniedError:
        # AWS names principal, action and resource here; it is the one message worth its length.
        return our(
            f"AWS denies it ({said}{': ' if message else ''}{message}). Allow the role "
            f"{_ACTIONS[kind]}, and kms:Decrypt on its key."
        )
    if our is BackendUnavailableError:
        return our(f"AWS answered {said}. Try again.")
    advice = _ADVICE.get(code, ". Look the code up in its documentation.")
    return our(f"AWS answered {said}{advice}")


def _secret_answer(secret: dict[str, Any]) -> Answer:
    value = secret["SecretString"] if "SecretString" in secret else secret["SecretBinary"]
    return Answer(value, version=secret.get("VersionId"))


def _parameter_answer(parameter: dict[str, Any]) -> Answer:
    return Answer(_parameter(parameter), version=str(parameter["Version"]))


def _parameter(parameter: dict[str, Any]) -> str | list[str]:
    text: str = parameter["Value"]
    return text.split(",") if parameter.get("Type") == "StringList" else text


def _is_named(asked: str, name: str, arn: str) -> bool:
    """Whether that id means this secret: its name, its ARN, or that less its random ending."""
    return asked in {name, arn} or (asked.startswith("arn:") and asked == arn.rpartition("-")[0])


def _base(name: str) -> str:
    """Return a parameter's name alone, for a name or an ARN."""
    return name.rpartition(":parameter/")[2].lstrip("/")


def _add_to_chunk(chunks: list[dict[str, Source]], source: Source) -> None:
    """Add to the first call with room: two versions of one name cannot be told apart in one."""
    base = _base(source.name)
    for chunk in chunks:
        if len(chunk) < PARAMETERS_A_CALL and base not in chunk:
            chunk[base] = source
            return
    chunks.append({base: source})

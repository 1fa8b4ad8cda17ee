"""Real frameworks around decorated functions: FastAPI, Mangum, Powertools, durable executions."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import pytest
import wrapt
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.execution import (
    DurableExecutionInvocationInput,
    InitialExecutionState,
)
from aws_durable_execution_sdk_python_testing.model import LambdaContext as FrozenContext
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    async_process_partial_response,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from mangum import Mangum

from lambda_secrets import (
    DeclarationError,
    InjectionError,
    LiveSecrets,
    Secret,
    inject_secrets,
)
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator


Count = int  # a name that only this module knows
Key = Annotated[str, Secret("prod/key")]


@pytest.fixture
def backend() -> Recorder:
    """Return a backend with a key."""
    return Recorder({"prod/key": "s3cret"})


@pytest.fixture
def loop() -> Iterator[None]:
    """Set an event loop for code that expects one, and close it afterwards."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    made.close()
    asyncio.set_event_loop(None)


def http_event(path: str, **query: str) -> dict[str, Any]:
    """Return API Gateway's event for a GET."""
    http = {"method": "GET", "path": path, "sourceIp": "127.0.0.1"}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "&".join(f"{k}={v}" for k, v in query.items()),
        "queryStringParameters": query,
        "headers": {"host": "example.com"},
        "requestContext": {"http": http, "stage": "$default", "requestId": "1"},
    }


@pytest.mark.parametrize("awaited", [False, True])
def test_a_route_neither_asks_for_a_secret_nor_lets_callers_set_it(
    backend: Recorder, *, awaited: bool
) -> None:
    """Trap: FastAPI would take the key from the query, like any parameter (fastapi#2423)."""
    app = FastAPI()
    inject = inject_secrets(backend=backend)
    if awaited:

        @app.get("/hook")
        @inject
        async def async_hook(*, q: int = 1, key: Key = "insecure-dev-key") -> list[Any]:
            return [q, key]
    else:

        @app.get("/hook")
        @inject
        def hook(*, q: int = 1, key: Key = "insecure-dev-key") -> list[Any]:
            return [q, key]

    client = TestClient(app)
    assert client.get("/hook").json() == [1, "s3cret"]
    assert client.get("/hook?key=attacker&q=3").json() == [3, "s3cret"]
    (operation,) = client.get("/openapi.json").json()["paths"]["/hook"].values()
    assert [parameter["name"] for parameter in operation["parameters"]] == ["q"]


def test_a_powertools_route_neither_asks_for_a_secret_nor_lets_callers_set_it(
    backend: Recorder,
) -> None:
    """Trap: the resolver with validation would take the key from the query, as FastAPI does."""
    app = APIGatewayHttpResolver(enable_validation=True)

    @app.get("/hook")
    @inject_secrets(backend=backend)
    def hook(*, q: int = 1, key: Key = "insecure-dev-key") -> dict[str, Any]:
        return {"q": q, "key": key}

    context: Any = SimpleNamespace()
    for query, q in (({}, 1), ({"key": "attacker", "q": "3"}, 3)):
        answer = app.resolve(http_event("/hook", **query), context)
        assert json.loads(answer["body"]) == {"q": q, "key": "s3cret"}


def test_powertools_finds_the_types_of_a_route_with_retry_on(backend: Recorder) -> None:
    """Trap: its validation evaluates string annotations in the outermost function's module."""
    live = LiveSecrets({"key": "prod/key"}, backend=backend)
    app = APIGatewayHttpResolver(enable_validation=True)

    @app.get("/hook")
    @live.retry_on(LookupError)
    def hook(q: Count) -> dict[str, Any]:
        return {"q": q, "key": live.key}

    context: Any = SimpleNamespace()
    answer = app.resolve(http_event("/hook", q="3"), context)
    assert json.loads(answer["body"]) == {"q": 3, "key": "s3cret"}


def signed(function: Any) -> Any:
    """Set ``__signature__``, as some decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    vars(wrapper)["__signature__"] = inspect.signature(function)
    return wrapper


@wrapt.decorator
def traced(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """Call the function, as the decorators of tracers do."""
    return wrapped(*args, **kwargs)


class View:
    """Routes that are not plain functions."""

    def method(self, *, q: int = 1, key: Key = "insecure-dev-key") -> dict[str, Any]:
        """Return what it got."""
        return {"q": q, "key": key}

    async def coroutine(self, *, q: int = 1, key: Key = "insecure-dev-key") -> dict[str, Any]:
        """Return what it got."""
        return {"q": q, "key": key}

    __call__ = method
    traced = traced(method)
    cached = functools.lru_cache(method)


def route_of(kind: str, inject: Any) -> Any:
    """Return an injected route of this kind."""
    view = View()
    if kind in {"method", "coroutine", "traced"}:
        return inject(getattr(view, kind))
    if kind == "signed":
        return inject(signed(view.method))
    if kind in {"traced below", "cached below"}:
        return inject(vars(View)[kind.removesuffix(" below")]).__get__(view)
    if kind == "partial":
        return inject(functools.partial(View.method, view))
    return inject(view)


@pytest.mark.parametrize("mapping", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "method",
        "coroutine",
        "traced",
        "signed",
        "traced below",
        "cached below",
        "partial",
        "object",
    ],
)
def test_no_kind_of_route_lets_callers_set_a_secret(
    kind: str, backend: Recorder, *, mapping: bool
) -> None:
    """Trap: `inspect.signature` looks past what a method or an object shows of itself."""
    if kind == "partial":
        mapping = True  # its own signature cannot declare
    declared = {"key": "prod/key"} if mapping else None
    route = route_of(kind, inject_secrets(declared, into="kwargs", backend=backend))
    assert list(inspect.signature(route).parameters) == ["q"]
    above = inject_secrets({}, backend=backend)(route)
    assert list(inspect.signature(above).parameters) == ["q"]
    app = FastAPI()
    app.get("/hook")(route)
    client = TestClient(app)
    assert client.get("/hook?key=attacker&q=3").json() == {"q": 3, "key": "s3cret"}
    (operation,) = client.get("/openapi.json").json()["paths"]["/hook"].values()
    assert [parameter["name"] for parameter in operation["parameters"]] == ["q"]
    if kind != "coroutine" and hasattr(route, "__name__"):  # which Powertools asks for
        resolver = APIGatewayHttpResolver(enable_validation=True)
        resolver.get("/hook")(route)
        context: Any = SimpleNamespace()
        answer = resolver.resolve(http_event("/hook", key="attacker", q="3"), context)
        assert json.loads(answer["body"]) == {"q": 3, "key": "s3cret"}


def test_injected_parameters_are_not_in_the_signature(backend: Recorder) -> None:
    """`inspect.signature` omits injected parameters; annotations and type hints keep them."""

    @inject_secrets({"b": "prod/key"}, into="kwargs", backend=backend)
    @inject_secrets(backend=backend)
    def handler(event: dict[str, Any], context: object, *, a: Key, b: str, c: int = 5) -> str:
        return f"{a}{b}{c}"

    assert str(inspect.signature(handler)) == (
        "(event: dict[str, typing.Any], context: object, *, c: int = 5) -> str"
    )
    hints = get_type_hints(handler, include_extras=True)
    assert hints["a"] == Key
    assert handler.__annotations__.keys() == {"event", "context", "a", "b", "c", "return"}
    assert handler({}, SimpleNamespace()) == "s3crets3cret5"
    context_handler = inject_secrets({"key": "prod/key"}, backend=backend)(lambda event, context: 1)
    assert list(inspect.signature(context_handler).parameters) == ["event", "context"]


def test_an_annotation_for_checkers_alone_is_left_as_it_is(backend: Recorder) -> None:
    """An annotation that cannot be evaluated stays a string in the signature."""

    @inject_secrets({"key": "prod/key"}, into="kwargs", backend=backend)
    def handler(event: LambdaContext, context: NoSuchType, *, key: str) -> str:  # type: ignore[name-defined]  # noqa: F821
        raise AssertionError

    assert inspect.signature(handler).parameters["context"].annotation == "NoSuchType"


@pytest.mark.usefixtures("loop")
def test_values_follow_a_request_through_mangum(backend: Recorder, context: Any) -> None:
    """A route reads the values from the context that Mangum hands on; they leave it afterwards."""
    app = FastAPI()

    @app.get("/")
    def root(request: Request) -> dict[str, str]:
        return {"key": request.scope["aws.context"].secrets.key}

    handler = inject_secrets({"key": "prod/key"}, backend=backend)(Mangum(app, lifespan="off"))
    answer = handler(http_event("/"), context)
    assert json.loads(answer["body"]) == {"key": "s3cret"}
    assert "secrets" not in vars(context)


def sqs_event(count: int) -> dict[str, Any]:
    """Return an SQS event with this many records."""
    records = [
        {"messageId": str(n), "body": json.dumps(n), "eventSource": "aws:sqs"} for n in range(count)
    ]
    return {"Records": records}


@pytest.mark.usefixtures("loop")
def test_each_record_of_a_batch_has_its_secrets(backend: Recorder, context: Any) -> None:
    """Trap: records that are processed side by side share one context object."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    async def async_record(record: Any, lambda_context: Any) -> str:
        await asyncio.sleep(record.json_body / 1000)
        value: str = lambda_context.secrets.key
        return value

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def record(record: Any, lambda_context: Any) -> str:
        value: str = lambda_context.secrets.key
        return value

    no_failures: dict[str, Any] = {"batchItemFailures": []}
    assert no_failures == async_process_partial_response(
        event=sqs_event(10),
        record_handler=async_record,
        processor=AsyncBatchProcessor(event_type=EventType.SQS),
        context=context,
    )
    assert no_failures == process_partial_response(
        event=sqs_event(10),
        record_handler=record,
        processor=BatchProcessor(event_type=EventType.SQS),
        context=context,
    )
    assert "secrets" not in vars(context)


def test_a_decorator_below_that_drops_the_keyword_is_named(backend: Recorder) -> None:
    """Powertools' ``event_source`` below ours drops the keyword; the error says what to do."""

    @inject_secrets({"key": "prod/key"}, into="kwargs", backend=backend)
    @event_source(data_class=SQSEvent)
    def handler(event: Any, context: Any, key: str = "") -> None:
        raise AssertionError

    with pytest.raises(InjectionError, match="directly above the handler"):
        handler({}, SimpleNamespace())


def test_a_handlers_own_type_error_stays_its_own(backend: Recorder) -> None:
    """A `TypeError` from within the handler is not taken for a lost keyword."""

    def takes_nothing() -> None:
        raise AssertionError

    @inject_secrets({"key": "prod/key"}, into="kwargs", backend=backend)
    @functools.lru_cache(maxsize=0)
    def handler(event: Any, context: Any, *, key: str) -> None:
        takes_nothing(key=key)  # type: ignore[call-arg]  # it takes none

    with pytest.raises(TypeError, match="key") as raised:
        handler(1, 2)
    assert not isinstance(raised.value, InjectionError)


def test_a_record_handler_is_told_to_make_its_secret_keyword_only(backend: Recorder) -> None:
    """``def record(record, db)`` would get the context as db, so db must be keyword-only."""
    with pytest.raises(DeclarationError, match=r"def record\(record, \*, db\)"):

        @inject_secrets({"db": "prod/key"}, into="kwargs", backend=backend)
        def record(record: Any, db: str) -> None:
            raise AssertionError


@pytest.mark.parametrize("awaited", [False, True])
def test_a_route_depends_on_live_secrets(backend: Recorder, *, awaited: bool) -> None:
    """`Depends(live.current)` gives a route its secrets, and asks callers for nothing."""
    live = LiveSecrets({"key": "prod/key"}, backend=backend)
    depends = Depends(live.acurrent if awaited else live.current)
    app = FastAPI()

    @app.get("/")
    def root(current: Any = depends) -> Any:
        return [current.key, live.key]

    @app.get("/tenant")
    @live.retry_on(ConnectionError)
    def tenant(q: int) -> Any:
        if live.key == "s3cret":
            backend.answers["prod/key"] = "new"
            raise ConnectionError
        return [q, live.key]

    client = TestClient(app)
    assert client.get("/?current=attacker&key=attacker").json() == ["s3cret", "s3cret"]
    assert client.get("/tenant?q=3").json() == [3, "new"]
    assert "parameters" not in client.get("/openapi.json").json()["paths"]["/"]["get"]


@pytest.mark.parametrize("kind", ["plain", "items", "async items"])
def test_a_dependency_may_take_secrets_itself(backend: Recorder, kind: str) -> None:
    """A caller cannot set the secret of a dependency, whatever its kind."""

    def plain(*, q: int = 1, key: Key = "insecure-dev-key") -> Any:
        return [q, key]

    def items(*, q: int = 1, key: Key = "insecure-dev-key") -> Any:
        yield [q, key]

    async def async_items(*, q: int = 1, key: Key = "insecure-dev-key") -> Any:
        yield [q, key]

    dependency: Any = {"plain": plain, "items": items, "async items": async_items}[kind]
    depends = Depends(inject_secrets(backend=backend)(dependency))
    app = FastAPI()

    @app.get("/")
    def root(found: Any = depends) -> Any:
        return found

    assert TestClient(app).get("/?key=attacker&q=3").json() == [3, "s3cret"]


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_above_a_durable_execution_the_error_says_where_it_belongs(
    into: Any, backend: Recorder
) -> None:
    """Trap: AWS's testing package freezes input and context; the decorator takes no keyword."""

    @inject_secrets({"key": "prod/key"}, into=into, backend=backend)
    @durable_execution
    def handler(event: Any, context: Any, key: str = "") -> None:
        raise AssertionError

    state = InitialExecutionState(operations=[], next_marker="")
    event: Any = DurableExecutionInvocationInput("arn", "token", state)
    advice = "directly above the handler" if into == "kwargs" else "below @durable_execution"
    with pytest.raises(InjectionError, match=advice):
        handler(event, FrozenContext("request"))

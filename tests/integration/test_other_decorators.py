"""Other people's decorators and adapters on either side of ours."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import lambda_decorators
import pytest
from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.middleware_factory import lambda_handler_decorator
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent, event_source
from aws_xray_sdk import global_sdk_config  # type: ignore[import-untyped]  # it has no types
from aws_xray_sdk.core import AWSXRayRecorder  # type: ignore[import-untyped]  # it has no types
from mangum import Mangum

from lambda_secrets import inject_secrets
from lambda_secrets.backends import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from awslambdaric.lambda_context import LambdaContext

    Handler = Callable[..., Any]
    Decorator = Callable[[Handler], Handler]

SECRET = "sk_live_5ecret"


@pytest.fixture
def ours() -> Decorator:
    """Return our decorator, which puts the secret at `context.secrets.key`."""
    return inject_secrets({"key": "prod/stripe"}, backend=MemoryBackend({"prod/stripe": SECRET}))


@pytest.fixture
def event_loop() -> Iterator[None]:
    """Set an event loop, as code written before `asyncio.run` does."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def rest_event() -> dict[str, Any]:
    """Return an API Gateway proxy event: GET /key."""
    return {
        "resource": "/key",
        "path": "/key",
        "httpMethod": "GET",
        "headers": {"Accept": "text/plain", "Host": "it.example"},
        "multiValueHeaders": {"Accept": ["text/plain"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "stage": "prod",
            "requestId": "r",
            "httpMethod": "GET",
            "resourcePath": "/key",
            "path": "/prod/key",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": '{"n": 1}',
        "isBase64Encoded": False,
    }


def on_either_side(ours: Decorator, theirs: Decorator, handler: Handler) -> list[Handler]:
    """Return the handler with ours outside, and with theirs outside."""
    return [ours(theirs(handler)), theirs(ours(handler))]


def test_powertools_logger_keeps_its_keys_and_logs_no_secret(
    ours: Decorator, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """`inject_lambda_context` with event logging works above and below ours and prints no value."""
    logger = Logger(service="tested")

    def handler(event: Any, context: Any) -> Any:
        logger.info("working", extra={"secrets": context.secrets, "context": context})
        return context.secrets.key

    theirs = logger.inject_lambda_context(log_event=True)
    for decorated in on_either_side(ours, theirs, handler):
        assert decorated({"n": 1}, context) == SECRET
    output = capsys.readouterr().out
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["function_request_id"] for line in lines] == [context.aws_request_id] * 4
    assert SECRET not in output


def test_powertools_logger_prints_no_event_with_secrets(
    context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `into="event"`, the logged event is the caller's own or shows names only."""
    ours = inject_secrets(
        {"key": "prod/stripe"},
        into="event",
        backend=MemoryBackend({"prod/stripe": SECRET}),
    )
    theirs = Logger(service="tested").inject_lambda_context(log_event=True)
    for decorated in on_either_side(ours, theirs, lambda event, _: event["secrets"].key):
        assert decorated({"n": 1}, context) == SECRET
    assert SECRET not in capsys.readouterr().out


def test_powertools_event_source_wraps_the_event(
    ours: Decorator, context: LambdaContext, rest_event: dict[str, Any]
) -> None:
    """The handler gets its event as a data class, and its secrets."""

    def handler(event: APIGatewayProxyEvent, context: Any) -> Any:
        return [event.path, event.json_body, context.secrets.key]

    theirs = event_source(data_class=APIGatewayProxyEvent)
    for decorated in on_either_side(ours, theirs, handler):
        assert decorated(rest_event, context) == ["/key", {"n": 1}, SECRET]


def test_powertools_middleware_sees_the_secrets_where_it_stands_inside(
    ours: Decorator, context: LambdaContext
) -> None:
    """A middleware below ours sees the secrets; one above ours sees a context without them."""
    seen: list[bool] = []

    @lambda_handler_decorator
    def middleware(handler: Handler, event: Any, context: Any, greeting: str = "") -> Any:
        seen.append(hasattr(context, "secrets"))
        return greeting + handler(event, context)

    def handler(_: Any, context: Any) -> Any:
        return context.secrets.key

    for decorated in on_either_side(ours, middleware(greeting="hello "), handler):
        assert decorated({}, context) == "hello " + SECRET
    assert seen == [True, False]
    assert not hasattr(context, "secrets")


def test_powertools_routes_reach_the_secrets(
    ours: Decorator, context: LambdaContext, rest_event: dict[str, Any]
) -> None:
    """A route of the Event Handler finds the secrets at `app.lambda_context`."""
    app = APIGatewayRestResolver()

    @app.get("/key")
    def key() -> dict[str, Any]:
        return {"key": app.lambda_context.secrets.key}  # type: ignore[attr-defined]  # theirs has no secrets

    @ours
    def by_function(event: Any, context: Any) -> Any:
        return app.resolve(event, context)

    for handler in (by_function, ours(app)):
        answer = handler(rest_event, context)
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"key": SECRET})


@pytest.mark.usefixtures("event_loop")
def test_mangum_hands_the_context_to_an_async_app(
    ours: Decorator, context: LambdaContext, rest_event: dict[str, Any]
) -> None:
    """An ASGI application finds the secrets at `scope["aws.context"]`, in warm invocations too."""

    async def app(
        scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = scope["aws.context"].secrets.key.encode()
        await send({"type": "http.response.body", "body": body})

    handler = ours(Mangum(app, lifespan="off"))
    for _ in range(2):
        answer = handler(rest_event, context)
        assert (answer["statusCode"], answer["body"]) == (200, SECRET)


def test_powertools_logger_above_ours_above_mangum_offers_our_secrets(ours: Decorator) -> None:
    """`functools.wraps` copies `secrets` from a callable object as from a function."""
    handler: Any = Logger(service="test").inject_lambda_context(ours(Mangum(None, lifespan="off")))  # type: ignore[arg-type]  # it is not called
    assert handler.secrets.key == SECRET


def test_lambda_decorators_change_event_and_answer(
    ours: Decorator, context: LambdaContext, rest_event: dict[str, Any]
) -> None:
    """Body parsing, JSON answers and CORS headers work above and below ours."""

    def theirs(handler: Handler) -> Handler:
        for decorator in (
            lambda_decorators.json_http_resp,
            lambda_decorators.load_json_body,
            lambda_decorators.cors_headers,
        ):
            handler = decorator(handler)
        return handler

    def handler(event: Any, context: Any) -> Any:
        return {"n": event["body"]["n"], "key": context.secrets.key}

    for decorated in on_either_side(ours, theirs, handler):
        answer = decorated(dict(rest_event), context)
        assert json.loads(answer["body"]) == {"n": 1, "key": SECRET}
        assert answer["headers"]["Access-Control-Allow-Origin"] == "*"


def test_lambda_decorators_turn_our_handlers_error_into_an_answer(
    ours: Decorator, context: LambdaContext, caplog: pytest.LogCaptureFixture
) -> None:
    """`json_http_resp` outside answers 500 for what the handler raises, and logs no value."""

    @lambda_decorators.json_http_resp  # type: ignore[untyped-decorator]  # untyped upstream
    @ours
    def handler(_: Any, context: Any) -> Any:
        assert context.secrets.key
        raise ValueError("no more")

    with caplog.at_level(logging.DEBUG):
        answer = handler({}, context)
    assert answer == {"statusCode": 500, "body": "no more"}
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("event_loop")
def test_lambda_decorators_async_handler_outside(ours: Decorator, context: LambdaContext) -> None:
    """`async_handler` runs the coroutine that ours returns."""

    @lambda_decorators.async_handler  # type: ignore[untyped-decorator]  # untyped upstream
    @ours
    async def handler(_: Any, context: Any) -> Any:
        return context.secrets.key

    assert [handler({}, context) for _ in range(2)] == [SECRET, SECRET]


def test_lambda_decorators_class_keeps_its_context(ours: Decorator, context: LambdaContext) -> None:
    """A `LambdaDecorator` with both hooks sees the same context object on either side."""
    seen: list[Any] = []

    class Around(lambda_decorators.LambdaDecorator):  # type: ignore[misc]  # untyped upstream
        def before(self, event: Any, context: Any) -> Any:
            seen.append(context)
            return event, context

        def after(self, retval: Any) -> Any:
            return retval.upper()

    for decorated in on_either_side(ours, Around, lambda _, context: context.secrets.key):
        assert decorated({}, context) == SECRET.upper()
    assert all(each is context for each in seen)


class Captured:
    """Handlers that X-Ray and Powertools trace."""

    recorder: Any = AWSXRayRecorder()
    recorder.configure(context_missing="IGNORE_ERROR")

    def method(self, event: Any, context: Any) -> Any:
        """Return what it got."""
        return self, event, context.secrets.key

    by_xray = recorder.capture("handler")(method)
    by_powertools = Tracer(disabled=True).capture_method(method)


global_sdk_config.set_sdk_enabled(True)  # the Tracer has disabled X-Ray for all tests


@pytest.mark.parametrize("name", ["by_xray", "by_powertools"])
def test_a_traced_method_gets_its_instance_and_its_secrets(
    name: str, ours: Decorator, context: LambdaContext
) -> None:
    """Ours works above the decorator, below another one, and on the bound method."""
    traced, instance = vars(Captured)[name], Captured()
    above = Captured.recorder.capture("again")(ours(traced))
    for handler in (ours(traced).__get__(instance), above.__get__(instance)):
        assert handler({}, context) == (instance, {}, SECRET)
    assert ours(getattr(instance, name))({}, context) == (instance, {}, SECRET)

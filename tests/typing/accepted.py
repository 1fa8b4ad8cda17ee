"""Code that type checkers must accept and the types they must infer; checked in CI, not run."""
# ruff: noqa: INP001 - no package: nobody imports it

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, assert_type

from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from lambda_secrets import (
    Answer,
    AppConfig,
    AwsBackend,
    Backend,
    CacheInfo,
    Declaration,
    Event,
    ExtensionBackend,
    Fetched,
    FileBackend,
    InjectedHandler,
    LiveSecrets,
    MemoryBackend,
    Parameter,
    ParameterTree,
    ResolutionError,
    SdkBackend,
    Secret,
    SecretNotFoundError,
    Secrets,
    Source,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.testing import LambdaContext as MadeUpContext, override_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Context(Protocol):
    """The part of its context that a handler uses."""

    aws_request_id: str
    secrets: Secrets


@dataclass
class Login:
    """A database login."""

    user: str
    password: str


def use(event: dict[str, Any], context: Context, login: Login) -> None:
    """Call every kind of handler, as its tests do."""
    # A mapping, into the context: the signature stays.
    assert_type(in_context(event, context), str)
    assert_type(in_context(event=event, context=context), str)
    assert_type(in_context(event, MadeUpContext(timeout=5)), str)
    as_callable: Callable[[dict[str, Any], Context], str] = in_context
    assert_type(as_callable(event, context), str)

    # Injected arguments may be passed or left out.
    assert_type(by_signature(event, context), int)
    assert_type(by_signature(event, context, login=login), int)
    assert_type(by_signature(event=event, context=context, login=login, verbose=True), int)
    assert_type(with_options(event, context), list[str])
    assert_type(by_keyword(event, context), bytes)
    assert_type(by_keyword(event, context, key=b"key"), bytes)
    coroutine: Coroutine[Any, Any, str] = awaited(event, context)
    coroutine.close()

    # Methods of all kinds.
    service = Service()
    assert_type(service.method(event, context), str)
    assert_type(service.on_class(event, context), str)
    assert_type(Service.on_class(event, context), str)
    assert_type(service.on_nothing(event, context), str)
    assert_type(Service.on_nothing(event, context), str)
    assert_type(service.by_signature(event, context), str)

    # The control object.
    for handler in (in_context, by_signature, with_options, by_keyword, awaited):
        handler.secrets.refresh()
        handler.secrets.clear()
        assert_type(handler.__name__, str)
    assert_type(in_context.secrets.cache_info().max_age, float)
    declared: dict[str, Secret | Parameter | ParameterTree | AppConfig] = {"a": Secret("a")}
    inject_secrets(declared)
    mixed: dict[str, Declaration] = {"db": "prod/db#@", "key": Secret("key")}
    inject_secrets(mixed)
    assert_type(in_context.secrets, LiveSecrets)
    as_type: InjectedHandler[..., str] = in_context
    as_type.secrets.clear()
    assert_type(list(in_context.secrets.declarations), list[str])
    service.method.secrets.refresh()
    Service.on_class.secrets.refresh()
    clear_cache()


@inject_secrets(
    {
        "db": "prod/db#@",
        "old": Secret("prod/db", "user", version_stage="AWSPREVIOUS", ttl=5, default=None),
        "url": Parameter("/prod/url", version=3, transform=str.strip),
        "app": ParameterTree("/prod/app/", recursive=False),
        "flags": AppConfig("app", "env", "profile", transform="json"),
    },
    key="config",
    ttl=math.inf,
    backend="sdk",
    timeout=2,
    jitter=0,
    stale_if_error=0,
    refresh_ahead=30,
    refresh_on=(ConnectionError, TimeoutError),
    prefetch=True,
    observer=print,
)
def in_context(event: dict[str, Any], context: Context) -> str:
    """Use every option."""
    secrets = context.secrets
    user: str = secrets.db["user"]
    url: str = secrets["url"]
    return user + url + repr(secrets.reveal())


@inject_secrets
def by_signature(
    event: dict[str, Any],
    context: Context,
    *,
    login: Annotated[Login, Secret("prod/db")],
    verbose: bool = False,
) -> int:
    """Declare in the signature."""
    assert_type(login, Login)
    return len(login.user) + verbose


@inject_secrets(ttl=60, refresh_on=ConnectionError)
def with_options(
    event: dict[str, Any],
    context: Context,
    *,
    hosts: Annotated[list[str], Parameter("/prod/hosts")],
    key: Annotated[str | None, Secret("prod/key")] = None,
) -> list[str]:
    """Declare in the signature, with options."""
    return [*hosts, key or ""]


@inject_secrets({"key": "prod/key"}, into="kwargs")
def by_keyword(event: dict[str, Any], context: Context, key: bytes) -> bytes:
    """Take keyword arguments."""
    return key


@inject_secrets({"key": "prod/key"})
async def awaited(event: dict[str, Any], context: Context) -> str:
    """Be awaited."""
    return str(context.secrets.key)


class Service:
    """Handlers in a class."""

    @inject_secrets({"key": "prod/key"})
    def method(self, event: dict[str, Any], context: Context) -> str:
        """Use the instance."""
        return str(context.secrets.key)

    @classmethod
    @inject_secrets({"key": "prod/key"})
    def on_class(cls, event: dict[str, Any], context: Context) -> str:
        """Use the class."""
        return str(context.secrets.key)

    @staticmethod
    @inject_secrets({"key": "prod/key"})
    def on_nothing(event: dict[str, Any], context: Context) -> str:
        """Use neither."""
        return str(context.secrets.key)

    @inject_secrets
    def by_signature(
        self, event: dict[str, Any], context: Context, *, key: Annotated[str, Secret("prod/key")]
    ) -> str:
        """Declare in the signature."""
        return key


# Frameworks' contexts


class PowertoolsContext(LambdaContext):
    """Powertools' context, with the injected secrets."""

    secrets: Secrets


@inject_secrets({"key": "prod/key"})
def with_powertools(event: dict[str, Any], context: PowertoolsContext) -> str:
    """Pass the context to a function that takes Powertools' own."""
    seconds = remaining(context)
    return f"{context.secrets.key} {seconds}"


def remaining(context: LambdaContext) -> int:
    """Take Powertools' context."""
    return context.get_remaining_time_in_millis()


class Order(BaseModel):
    """The event of a handler below Powertools' parser."""

    number: int


@event_source(data_class=SQSEvent)
@inject_secrets({"key": "prod/key"})
def below_event_source(event: SQSEvent, context: Any) -> str:
    """Take any context: the decorator refuses a subclass of Powertools' own."""
    return str(context.secrets.key)


@event_parser(model=Order)
@inject_secrets({"key": "prod/key"})
def below_event_parser(event: Order, context: Any) -> str:
    """Take any context here too."""
    return f"{event.number} {context.secrets.key}"


@event_parser(model=Order)
@inject_secrets
def declared_below_parser(
    event: Order, context: LambdaContext, *, key: Annotated[str, Secret("prod/key")]
) -> str:
    """Declare in the signature instead."""
    return f"{event.number} {key} {remaining(context)}"


# Live secrets


class Pool:
    """A connection pool."""

    def __init__(self, login: dict[str, str]) -> None:
        self.login = login

    def close(self) -> None:
        """Close it."""


class Config(LiveSecrets):
    """Declares by annotations."""

    login: Annotated[Login, Secret("prod/db")]
    workers: Annotated[int, Parameter("/prod/workers")] = 4
    pool: Annotated[Pool, Secret("prod/db", "@", build=Pool, close=Pool.close)]


class LoginFailedError(Exception):
    """The database refuses the password."""


live = LiveSecrets({"db": "prod/db#@", "key": Secret("prod/key")}, ttl=300, observer=print)
config = Config(ttl=60, backend="aws")


@inject_secrets(live, into="event")
def in_event(event: dict[str, Any], context: object) -> str:
    """Share declarations and options."""
    secrets: Secrets = event["secrets"]
    return str(secrets.key)


@inject_secrets(config, into="kwargs", refresh_on=LoginFailedError)
def in_kwargs(event: dict[str, Any], context: object, *, login: Login, workers: int) -> int:
    """Take some of the declared secrets."""
    return len(login.user) + workers


@inject_secrets
def built(event: object, context: object, *, pool: Annotated[Pool, Secret("a", build=Pool)]) -> int:
    """Take an object that follows its secret."""
    return len(pool.login)


@live.retry_on(LoginFailedError)
def charge(order: int, *, dry_run: bool = False) -> str:
    """Keep a signature."""
    return f"{order} {live.key} {dry_run}"


@live.retry_on(LoginFailedError, TimeoutError)
async def charge_later(order: int) -> str:
    """Keep a coroutine's signature."""
    return str((await live.acurrent()).key) + str(order)


@live.retry_on((LoginFailedError, TimeoutError))
def charge_twice(order: int) -> None:
    """Take a tuple as well."""


async def use_live(context: object) -> None:
    """Use every member of live secrets."""
    assert_type(live.current(), Secrets)
    assert_type(await live.acurrent(), Secrets)
    assert_type(config.login, Login)
    assert_type(config.workers, int)
    assert_type(config.pool, Pool)
    key: bytes = live["key"]
    live.refresh()
    live.refresh("db", "key")
    await live.arefresh("db")
    info: CacheInfo = live.cache_info()
    assert_type(info.max_age, float)
    assert_type(charge(1, dry_run=True), str)
    assert_type(await charge_later(1), str)
    charge_twice(1)
    assert_type(in_event({}, context), str)
    assert_type(in_kwargs({}, context), int)
    assert_type(built({}, context), int)
    assert key
    assert "db" in live.current()
    assert len(live.current()) == 2
    assert_type(live.current().reveal(), dict[str, Any])
    inject_secrets({"key": "env:NAME"}, backend=AwsBackend(batch=True))


class Vault:
    """A backend of one's own needs no base class."""

    def fetch(
        self, sources: list[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, str | Answer | ResolutionError]:
        """Answer in every way."""
        return {
            source: Answer("value", version=source.version_id)
            if source.kind == "secret"
            else SecretNotFoundError(f"{source} is not here")
            for source in sources
        }


def observe(event: Event) -> None:
    """Watch the fetches."""
    if isinstance(event, Fetched):
        assert_type(event.seconds, float)


def backends() -> None:
    """Use every backend."""
    plain: dict[str, str] = {"key": "prod/key"}
    inject_secrets(plain, backend=SdkBackend(batch=True), observer=observe)
    inject_secrets(plain, backend=ExtensionBackend(port=2773))
    inject_secrets(plain, backend=FileBackend("secrets.toml"))
    inject_secrets(plain, backend=MemoryBackend(plain))
    assert_type(resolve_secrets(plain, ttl=0, backend="file"), Secrets)
    inject_secrets(plain, backend=Vault())
    backend: Backend = MemoryBackend({"a": "b"})
    inject_secrets(plain, backend=backend)
    backend = Vault()
    resolve_secrets(plain, backend=backend)


@override_secrets({"prod/db": {"user": "u"}, "ssm:/hosts": ["a"], Secret("prod/key"): b"k"})
def overridden(number: int) -> str:
    """Keep the signature of a test."""
    mixed = {"prod/db": {"user": "u"}, "prod/key": "k"}
    with override_secrets(mixed):
        return str(number)


@override_secrets(
    {Secret("prod/key", version_id="1"): "k"},
    built={"prod/db#@": object(), Secret("prod/db", "url"): 1},
)
async def overridden_too() -> int:
    """Keep the signature of an async test."""
    return 1


assert_type(overridden(1), str)
COROUTINE: Coroutine[Any, Any, int] = overridden_too()

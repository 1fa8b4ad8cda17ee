"""Where values go: context, event or keyword arguments, and how the context is restored."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock, create_autospec

import pytest
import wrapt

from lambda_secrets import (
    DeclarationError,
    InjectionError,
    Secret,
    SecretNotFoundError,
    Secrets,
    inject_secrets,
)
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from awslambdaric.lambda_context import LambdaContext


@pytest.fixture
def backend() -> Recorder:
    """Return a backend that has two secrets."""
    return Recorder({"prod/db": '{"user": "u", "ports": [1]}', "prod/key": "k"})


# The context


def test_values_are_on_the_context(backend: Recorder, context: LambdaContext) -> None:
    """By default `context.secrets` is a `Secrets`, beside the context's other attributes."""

    @inject_secrets({"db": "prod/db#@", "key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        assert isinstance(context.secrets, Secrets)
        return event, context.secrets.db["user"], context.secrets["key"], context.function_name

    assert handler({"a": 1}, context) == ({"a": 1}, "u", "k", "tested")
    assert not hasattr(context, "secrets")


def test_values_are_present_on_every_invocation(backend: Recorder) -> None:
    """A warm invocation has the values too, on whatever context it gets."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.key

    assert [handler({}, SimpleNamespace()) for _ in range(3)] == ["k"] * 3
    assert len(backend.calls) == 1


def test_the_event_itself_reaches_the_handler(backend: Recorder) -> None:
    """With secrets on the context, the handler gets the very same event object."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return event

    event = ["any", "event"]
    assert handler(event, SimpleNamespace()) is event


class Slotted:
    """A context with slots and no dict."""

    __slots__ = ("secrets",)


class SlottedAndMore(Slotted):
    """A context with a slot and a dict."""


class Plain:
    """A plain context, as in a test."""


class Classy:
    """A context whose class has the attribute."""

    secrets: Any = "of the class"


class Property:
    """A context whose attribute is a property without a deleter."""

    def __init__(self) -> None:
        self._secrets: Any = "of the property"

    @property
    def secrets(self) -> Any:
        """Return the kept value."""
        return self._secrets

    @secrets.setter
    def secrets(self, value: Any) -> None:
        self._secrets = value


class Unread:
    """A context whose property cannot be read before it is set, and has no deleter."""

    @property
    def secrets(self) -> Any:
        """Return the kept value."""
        return self._secrets

    @secrets.setter
    def secrets(self, value: Any) -> None:
        self._secrets = value


class Elsewhere:
    """A context that keeps its attributes elsewhere, as a proxy does."""

    def __init__(self) -> None:
        object.__setattr__(self, "_kept", {})

    def __getattr__(self, name: str) -> Any:
        kept = object.__getattribute__(self, "_kept")
        if name in kept:
            return kept[name]
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "_kept")[name] = value

    def __delattr__(self, name: str) -> None:
        del object.__getattribute__(self, "_kept")[name]


def a_class() -> Any:
    """Return a class that is itself the context."""
    return type("Context", (), {})


CONTEXTS: list[Any] = [
    a_class,
    Plain,
    SimpleNamespace,
    Slotted,
    SlottedAndMore,
    Classy,
    Property,
    Elsewhere,
]
NOTHING = object()


def attribute(context: Any) -> Any:
    """Return the context's `secrets`, or `NOTHING`."""
    return getattr(context, "secrets", NOTHING)


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("did", ["nothing", "deleted it", "replaced it"])
def test_an_attribute_that_was_not_set_is_not_set_afterwards(
    backend: Recorder, kind: Any, raises: bool, did: str
) -> None:
    """Whatever the handler does and however it ends, the attribute is as it was."""
    context = kind()
    before = attribute(context)

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        assert context.secrets.key == "k"
        if did == "deleted it" and kind is not Property:
            del context.secrets
        if did == "replaced it":
            context.secrets = "by the handler"
        if raises:
            raise ZeroDivisionError

    if raises:
        with pytest.raises(ZeroDivisionError):
            handler({}, context)
    else:
        handler({}, context)
    assert attribute(context) is before
    assert "secrets" not in getattr(context, "__dict__", {})


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("did", ["nothing", "deleted it", "replaced it"])
def test_an_attribute_that_was_set_is_as_it_was_afterwards(
    backend: Recorder, kind: Any, raises: bool, did: str
) -> None:
    """Whatever the handler does and however it ends, the old value is back."""
    context = kind()
    context.secrets = before = object()

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        assert context.secrets.key == "k"
        if did == "deleted it" and kind is not Property:
            del context.secrets
        if did == "replaced it":
            context.secrets = "by the handler"
        if raises:
            raise ZeroDivisionError

    if raises:
        with pytest.raises(ZeroDivisionError):
            handler({}, context)
    else:
        handler({}, context)
    assert context.secrets is before
    if kind is Classy:
        del context.secrets
        assert context.secrets == "of the class"


def test_what_cannot_be_deleted_holds_nothing_afterwards(backend: Recorder) -> None:
    """A property that was not set and has no deleter is left without the values."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.key

    context = Unread()
    assert handler({}, context) == "k"
    assert context.secrets is None


@pytest.mark.parametrize("made", [Mock, MagicMock, functools.partial(create_autospec, Classy)])
def test_a_mock_is_a_context_as_any(backend: Recorder, made: Any) -> None:
    """A mock has the secrets during the call, and its configured attribute afterwards."""
    context = made()
    configured = context.secrets

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.key

    assert [handler({}, context), handler({}, context)] == ["k", "k"]
    assert context.secrets is configured


def test_the_same_context_serves_again_and_again(backend: Recorder, context: LambdaContext) -> None:
    """Nothing of one invocation is left on the context for the next."""

    @inject_secrets({"db": "prod/db#@"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        context.secrets.db["user"] = "changed"
        return list(context.secrets.reveal()), context.secrets.db["user"]

    assert handler({}, context) == handler({}, context) == (["db"], "u")
    assert "secrets" not in vars(context)


def test_a_handler_that_calls_another_keeps_its_own(backend: Recorder) -> None:
    """An inner handler called with the same context restores the outer handler's secrets."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def inner(event: Any, context: Any) -> Any:
        return context.secrets.key

    @inject_secrets({"db": "prod/db#user"}, backend=backend)
    def outer(event: Any, context: Any) -> Any:
        return inner(event, context), list(context.secrets.reveal()), context.secrets.db

    assert outer({}, SimpleNamespace()) == ("k", ["db"], "u")


@pytest.mark.parametrize("call", [lambda handler: handler({}, None), lambda handler: handler({})])
def test_no_context_is_an_error_that_says_what_to_do(backend: Recorder, call: Any) -> None:
    """`None`, or no context at all, is refused with advice for a test."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any = None) -> Any:
        return context.secrets.key

    with pytest.raises(InjectionError) as raised:
        call(handler)
    assert isinstance(raised.value, TypeError)
    assert "A route or record handler gets no context: use into='kwargs' or a" in str(raised.value)
    assert "lambda_secrets.testing.LambdaContext()" in str(raised.value)
    assert "into='kwargs'" in str(raised.value)
    assert backend.calls == []
    handler({}, SimpleNamespace())
    with pytest.raises(InjectionError, match="called without one"):
        call(handler)


class Unset:
    """A context with slots, but none for the secrets."""

    __slots__ = ()


class Grumpy:
    """A context whose error quotes the secret."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError(value.key)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A context that nothing can be set on."""


@pytest.mark.parametrize("context", [{}, 5, "context", Unset(), Frozen(), Grumpy(), object()])
def test_a_context_that_takes_no_attribute_is_an_error(backend: Recorder, context: Any) -> None:
    """The error names the type of such a context, and has no cause that might show a value."""

    @inject_secrets({"key": "prod/key"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        raise AssertionError

    with pytest.raises(InjectionError) as raised:
        handler({}, context)
    message = str(raised.value)
    assert message.startswith("Cannot put secrets on the context: setting 'secrets' on this ")
    assert type(context).__name__ in message
    in_test = "Pass lambda_secrets.testing.LambdaContext() in a test, or use into='kwargs'."
    advice = "A durable execution" if isinstance(context, Frozen) else in_test
    assert advice in message
    assert raised.value.__context__ is None


def test_key_renames_the_attribute(backend: Recorder) -> None:
    """`key` is the name of the attribute."""

    @inject_secrets({"key": "prod/key"}, key="vault", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.vault.key, hasattr(context, "secrets")

    context = SimpleNamespace()
    assert handler({}, context) == ("k", False)
    assert vars(context) == {}


def test_names_need_not_be_identifiers_on_the_context(backend: Recorder) -> None:
    """A name that is not an identifier is reached as an item."""

    @inject_secrets({"my-key": "prod/key", "class": "prod/db#user"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets["my-key"], context.secrets["class"]

    assert handler({}, SimpleNamespace()) == ("k", "u")


# The event


def test_values_are_in_a_copy_of_the_event(backend: Recorder) -> None:
    """The handler gets a shallow copy with the `Secrets`; the caller's event is not touched."""

    @inject_secrets({"db": "prod/db#@"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        assert isinstance(event["secrets"], Secrets)
        assert event["secrets"].db == {"user": "u", "ports": [1]}
        event["new"] = 1
        return event

    caller = {"body": ["b"]}
    got = handler(caller, None)
    assert caller == {"body": ["b"]}
    assert got["body"] is caller["body"]
    assert list(got) == ["body", "secrets", "new"]


def test_an_event_with_secrets_in_it_can_be_logged(backend: Recorder) -> None:
    """Trap: secrets in the event got logged with it; every text of it shows only their names."""

    @inject_secrets({"key": "prod/db"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        with pytest.raises(TypeError, match="not JSON serializable"):
            json.dumps(event)
        return json.dumps(event, default=str), str(event), f"{event}", repr(event)

    for text in handler({"a": 1}, None):
        assert "<Secrets: key>" in text
        assert "user" not in text


class Request(dict[str, Any]):
    """A custom class of events."""

    body: Any = None


def test_a_copy_of_an_event_is_of_its_type(backend: Recorder) -> None:
    """A copy of a dict subclass keeps its type and its attributes."""

    @inject_secrets({"key": "prod/key"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return event

    caller = Request(a=1)
    caller.body = "b"
    got = handler(caller, None)
    assert (type(got), got["a"], got.body, got["secrets"].key) == (Request, 1, "b", "k")
    assert "secrets" not in caller


@pytest.mark.parametrize("event", [None, [], "event", 5, b"", [("secrets", 1)], ()])
def test_an_event_that_is_no_dict_is_an_error(backend: Recorder, event: Any) -> None:
    """An event that is not a dict cannot take the values."""

    @inject_secrets({"key": "prod/key"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        raise AssertionError

    with pytest.raises(InjectionError, match="expected a dict") as raised:
        handler(event, None)
    assert type(event).__name__ in str(raised.value)
    assert backend.calls == []


def test_no_event_is_an_error(backend: Recorder) -> None:
    """A handler called without an event cannot get the values in it."""

    @inject_secrets({"key": "prod/key"}, into="event", backend=backend)
    def handler(event: Any = None, context: Any = None) -> Any:
        raise AssertionError

    with pytest.raises(InjectionError, match="called without one"):
        handler()


@pytest.mark.parametrize("there", [None, {}, "an attacker's", {"key": "forged"}])
def test_an_event_that_has_the_key_is_an_error(backend: Recorder, there: Any) -> None:
    """Trap: an attacker controls the payload of a direct invoke; nothing in it passes for ours."""

    @inject_secrets({"key": "prod/key"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        raise AssertionError

    event = {"secrets": there}
    with pytest.raises(InjectionError, match="it has a key 'secrets' already"):
        handler(event, None)
    assert event == {"secrets": there}
    assert backend.calls == []


def test_key_renames_the_events_key(backend: Recorder) -> None:
    """In an event a key need not be an identifier."""

    @inject_secrets({"key": "prod/key"}, into="event", key="our secrets", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return event["our secrets"].key, event["secrets"]

    assert handler({"secrets": "theirs"}, None) == ("k", "theirs")


def test_the_context_is_not_needed_for_the_event(backend: Recorder) -> None:
    """With values in the event the context may be anything, or missing."""

    @inject_secrets({"key": "prod/key"}, into="event", backend=backend)
    def handler(event: Any, context: Any = 7) -> Any:
        return event["secrets"].key, context

    assert handler({}) == ("k", 7)
    assert handler({}, None) == ("k", None)


# Keyword arguments


def test_values_are_keyword_arguments(backend: Recorder) -> None:
    """Each declared name is passed by keyword."""

    @inject_secrets({"db": "prod/db#@", "key": "prod/key"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, db: Any, *, key: str) -> Any:
        return event, context, db, key

    assert handler({"a": 1}, None) == ({"a": 1}, None, {"user": "u", "ports": [1]}, "k")


def test_keyword_arguments_and_failures_are_in_the_declared_order() -> None:
    """Neither depends on the hashes of names, which change from one process to the next."""
    declared = {f"key{n}": f"prod/{n}" for n in range(20)}
    recorder = Recorder(dict.fromkeys(declared.values(), "v"))

    @inject_secrets(declared, into="kwargs", backend=recorder)
    def handler(event: Any, context: Any, **keys: str) -> list[str]:
        return list(keys)

    assert handler({}, None) == handler({}, None) == list(declared)
    recorder.answers.clear()
    handler.secrets.clear()
    with pytest.raises(SecretNotFoundError) as raised:
        handler({}, None)
    assert list(raised.value.failures) == list(declared)


def test_keyword_arguments_are_fresh_copies(backend: Recorder) -> None:
    """Changing an argument does not affect the next invocation."""

    @inject_secrets({"db": "prod/db#@"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, db: Any) -> Any:
        before = copy.deepcopy(db)
        db["ports"].append(2)
        db["user"] = "changed"
        return before

    assert handler({}, None) == handler({}, None) == {"user": "u", "ports": [1]}


def test_an_explicit_keyword_argument_wins_and_is_not_fetched(backend: Recorder) -> None:
    """An argument passed by keyword is neither replaced nor fetched, cold or warm."""

    @inject_secrets({"db": "prod/db#user", "key": "prod/key"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, db: Any, key: Any) -> Any:
        return db, key

    assert handler({}, None, key="mine") == ("u", "mine")
    assert [call.sources for call in backend.calls] == [["prod/db"]]
    assert handler({}, None, db=None, key="mine") == (None, "mine")
    assert handler({}, None) == ("u", "k")
    assert handler({}, None, db="mine") == ("mine", "k")
    assert handler({}, None) == ("u", "k")
    assert [call.sources for call in backend.calls] == [["prod/db"], ["prod/key"]]


def test_an_explicit_positional_argument_wins_and_is_not_fetched(backend: Recorder) -> None:
    """An argument passed by position is neither replaced nor fetched, cold or warm."""

    @inject_secrets({"db": "prod/db#user", "key": "prod/key"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, db: Any, key: Any = None) -> Any:
        return db, key

    assert handler({}, None, "mine") == ("mine", "k")
    assert [call.sources for call in backend.calls] == [["prod/key"]]
    assert handler({}, None) == ("u", "k")
    assert handler({}, None, "mine", "mine") == ("mine", "mine")
    assert handler({}, None, "mine") == ("mine", "k")


def test_nothing_is_fetched_when_all_is_passed() -> None:
    """A test that passes every argument needs no backend."""
    backend = Recorder({})

    @inject_secrets({"db": "prod/db"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, db: Any) -> Any:
        return db

    assert handler({}, None, db="mine") == "mine"
    assert backend.calls == []


def test_a_handler_with_keywords_of_its_own_takes_any_name(backend: Recorder) -> None:
    """`**kwargs` takes each declared name."""

    @inject_secrets({"db": "prod/db#user", "key": "prod/key"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        return secrets

    assert handler({}, None) == {"db": "u", "key": "k"}
    assert handler({}, None, other=1) == {"db": "u", "key": "k", "other": 1}


@pytest.mark.parametrize("name", ["my-key", "1st", "a b", "a.b", "class", "None", "import"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    """A name that cannot be a keyword argument is refused when the decorator is applied."""
    with pytest.raises(DeclarationError, match="it must be a valid identifier") as raised:

        @inject_secrets({name: "prod/key"}, into="kwargs", backend=Recorder({}))
        def handler(event: Any, context: Any, **secrets: Any) -> None:
            """Take everything."""

    assert repr(name) in str(raised.value)


def test_a_name_that_the_handler_does_not_take_is_refused() -> None:
    """A missing parameter is found when the decorator is applied, not at run time."""
    with pytest.raises(DeclarationError, match=r"handler\(\) does not take it"):

        @inject_secrets({"key": "prod/key"}, into="kwargs", backend=Recorder({}))
        def handler(event: Any, context: Any, *, db: Any) -> None:
            """Take something else."""

    with pytest.raises(DeclarationError, match=r"positional_only\(\) does not take it"):

        @inject_secrets({"db": "prod/db"}, into="kwargs", backend=Recorder({}))
        def positional_only(event: Any, context: Any, db: Any, /) -> None:
            """Take the secret by position only."""


@pytest.mark.parametrize("name", ["event", "context"])
def test_a_name_that_the_event_or_the_context_has_is_refused(name: str) -> None:
    """The first two arguments come from the caller: no secret can take their place."""
    with pytest.raises(DeclarationError, match=r"behind them: def \w+\((event|context), \*, "):

        @inject_secrets({name: "prod/key"}, into="kwargs", backend=Recorder({}))
        def handler(event: Any, context: Any) -> None:
            """Take an event and a context."""

    with pytest.raises(DeclarationError, match=r"behind them: def \w+\((event|context), \*, "):

        @inject_secrets({name: "prod/key"}, into="kwargs", backend=Recorder({}))
        def method(self: Any, event: Any, context: Any) -> None:
            """Take an instance, too."""

    with pytest.raises(DeclarationError, match=r"Move it behind them: def first\(event, \*, key\)"):

        @inject_secrets({"key": "prod/key"}, into="kwargs", backend=Recorder({}))
        def first(key: Any) -> None:
            """Take nothing else."""


def test_what_another_decorator_takes_is_not_guessed(backend: Recorder) -> None:
    """A handler behind someone else's decorator may take what its signature does not show."""

    def adding(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, key: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs), key

        return wrapper

    @inject_secrets({"key": "prod/key"}, into="kwargs", backend=backend)
    @adding
    def handler(event: Any, context: Any) -> Any:
        return event

    assert handler({}, None) == ({}, "k")

    def taking(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return kwargs.pop("key"), wrapped(*args, **kwargs)

    def other(event: Any, context: Any) -> Any:
        return event

    decorate = inject_secrets({"key": "prod/key"}, into="kwargs", backend=backend)
    assert decorate(wrapt.decorator(taking)(other))({}, None) == ("k", {})


# All targets


def test_values_never_reach_the_environment(
    backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Child processes and crash dumps get nothing: `os.environ` is not written to."""
    seen = []
    before = dict(os.environ)

    for into in ("context", "event", "kwargs"):

        @inject_secrets({"key": "prod/key"}, into=into, backend=backend)
        def handler(event: Any, context: Any, **secrets: Any) -> None:
            seen.append(dict(os.environ))

        handler({}, SimpleNamespace())
    assert seen == [before] * 3
    assert dict(os.environ) == before


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_a_default_is_placed_as_any_value(into: Any) -> None:
    """A default goes where the missing secret would go."""

    @inject_secrets({"it": Secret("missing", default={"a": 1})}, into=into, backend=Recorder({}))
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        places = {
            "context": lambda: context.secrets.it,
            "event": lambda: event["secrets"].it,
            "kwargs": lambda: secrets["it"],
        }
        return places[into]()

    got = handler({}, SimpleNamespace())
    assert got == {"a": 1}
    got["a"] = 2
    assert handler({}, SimpleNamespace()) == {"a": 1}


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_an_empty_mapping_injects_empty_secrets(into: Any) -> None:
    """With nothing declared, nothing is fetched, and the secrets are there, but empty."""
    backend = Recorder({})

    @inject_secrets({}, into=into, backend=backend, refresh_on=Exception, prefetch=True)
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        places = {"context": lambda: context.secrets, "event": lambda: event["secrets"]}
        return secrets if into == "kwargs" else places[into]().reveal()

    assert handler({}, SimpleNamespace()) == {}
    assert backend.calls == []
    assert handler.secrets.declarations == {}
    assert handler.secrets.cache_info() == {}
    handler.secrets.refresh()
    handler.secrets.clear()

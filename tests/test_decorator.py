"""The properties a handler keeps when decorated, and the options that are refused."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import pickle
import sys
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
import wrapt

import lambda_secrets.testing
from lambda_secrets import (
    BackendError,
    DeclarationError,
    Event,
    InjectionError,
    MemoryBackend,
    Secret,
    SecretNotFoundError,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.testing import override_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = {"key": "prod/key"}


async def observe(event: Event) -> None:
    """Await something with the event."""


def memory() -> MemoryBackend:
    """Return a backend that has the key."""
    return MemoryBackend({"prod/key": "k"})


def inject(**options: Any) -> Callable[[Any], Any]:
    """Return the decorator that declares the key."""
    return inject_secrets(KEY, **options)


# Properties that are kept


def test_return_values_and_exceptions_pass_through() -> None:
    """The handler's own result and exception reach the caller as the same objects."""
    result, error = object(), RuntimeError("its own")

    @inject(backend=memory())
    def handler(event: Any, context: Any) -> Any:
        if event:
            raise error
        return result

    assert handler({}, SimpleNamespace()) is result
    with pytest.raises(RuntimeError) as raised:
        handler({"raise": True}, SimpleNamespace())
    assert raised.value is error
    assert error.__cause__ is error.__context__ is None


@inject(backend=memory())
def documented(event: dict[str, Any], context: Any, *, tries: int = 3) -> str:
    """Say what it does."""
    return f"{context.secrets.key}{tries}"


def test_a_handler_is_called_what_it_was() -> None:
    """Name, qualified name, module, docstring, annotations and the function itself survive."""
    assert documented.__name__ == documented.__qualname__ == "documented"
    assert documented.__module__ == __name__
    assert documented.__doc__ == "Say what it does."
    assert get_type_hints(documented)["return"] is str
    assert inspect.isfunction(documented)
    assert inspect.unwrap(documented).__name__ == "documented"
    assert not hasattr(inspect.unwrap(documented), "secrets")


def test_a_handler_has_the_signature_that_it_had() -> None:
    """Tools that read a signature see the handler's own."""
    assert str(inspect.signature(documented)) == (
        "(event: 'dict[str, Any]', context: 'Any', *, tries: 'int' = 3) -> 'str'"
    )
    assert inspect.signature(documented) == inspect.signature(inspect.unwrap(documented))
    assert documented({}, SimpleNamespace(), tries=2) == "k2"
    assert inspect.getsource(documented).splitlines()[1].startswith("def documented")


def test_a_handler_pickles_by_its_name() -> None:
    """A handler can be handed to another process, which imports it."""
    assert pickle.loads(pickle.dumps(documented)) is documented  # noqa: S301 - ours


def test_attributes_of_a_handler_survive() -> None:
    """Attributes that others have put on the function are kept."""

    def handler(event: Any, context: Any) -> None:
        """Do nothing."""

    vars(handler)["route"] = "/users"
    assert inject(backend=memory())(handler).route == "/users"


class Calls:
    """Handlers of every kind that a class can have."""

    def __init__(self, name: str = "instance") -> None:
        self.name = name

    @inject(backend=memory())
    def method(self, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return self.name, event, context.secrets.key

    @inject(backend=memory())
    def oddly_named(this, event: Any, context: Any) -> Any:  # noqa: N805 - under test
        """Say whose it is."""
        return this.name, event, context.secrets.key

    @inject(backend=memory())
    def renamed(self, evt: Any, ctx: Any) -> Any:
        """Say whose it is."""
        return self.name, evt, ctx.secrets.key

    @classmethod
    @inject(backend=memory())
    def below_classmethod(cls, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return cls.__name__, event, context.secrets.key

    @inject(backend=memory())
    @classmethod
    def above_classmethod(cls, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return cls.__name__, event, context.secrets.key

    @staticmethod
    @inject(backend=memory())
    def below_staticmethod(event: Any, context: Any) -> Any:
        """Say that it is nobody's."""
        return None, event, context.secrets.key

    @inject(backend=memory())
    @staticmethod
    def above_staticmethod(event: Any, context: Any) -> Any:
        """Say that it is nobody's."""
        return None, event, context.secrets.key

    @inject(backend=memory())
    def __call__(self, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return self.name, event, context.secrets.key

    @inject(backend=memory(), into="event")
    def get(self, event: Any, context: Any) -> Any:
        """Share its name with a method of dict."""
        return self.name, event["secrets"].key, context

    @inject(backend=memory(), into="kwargs")
    def update(self, event: Any, context: Any, key: Any = None) -> Any:
        """Share its name with a method of dict."""
        return self.name, event, key


class Child(Calls):
    """Inherits every handler."""


@pytest.mark.parametrize("kind", [Calls, Child])
def test_methods_keep_their_instance(kind: type[Calls]) -> None:
    """A method gets its instance, event and secrets, whatever `self` is called."""
    instance = kind("mine")
    for method in (instance.method, instance.oddly_named, instance):
        assert method({"a": 1}, SimpleNamespace()) == ("mine", {"a": 1}, "k")
        assert method(event={"a": 1}, context=SimpleNamespace()) == ("mine", {"a": 1}, "k")
    assert kind.method(instance, {}, SimpleNamespace()) == ("mine", {}, "k")
    assert kind.method(instance, event={}, context=SimpleNamespace()) == ("mine", {}, "k")
    assert kind.renamed(instance, evt={}, ctx=SimpleNamespace()) == ("mine", {}, "k")
    assert instance.method.__name__ == "method"
    assert instance.method.__self__ is instance
    assert list(inspect.signature(instance.method).parameters) == ["event", "context"]
    assert list(inspect.signature(kind.method).parameters) == ["self", "event", "context"]


@pytest.mark.parametrize("kind", [Calls, Child])
def test_classmethods_keep_their_class(kind: type[Calls]) -> None:
    """Both orders of the two decorators work, through the class and through an instance."""
    for owner in (kind, kind()):
        for method in (owner.below_classmethod, owner.above_classmethod):
            expected = (kind.__name__, {"a": 1}, "k")
            assert method({"a": 1}, SimpleNamespace()) == expected
            assert method(event={"a": 1}, context=SimpleNamespace()) == expected
            assert list(inspect.signature(method).parameters) == ["event", "context"]


@pytest.mark.parametrize("kind", [Calls, Child])
def test_staticmethods_get_no_more_than_they_are_given(kind: type[Calls]) -> None:
    """Both orders of the two decorators work, and pass neither class nor instance."""
    for owner in (kind, kind()):
        for method in (owner.below_staticmethod, owner.above_staticmethod):
            assert method({"a": 1}, SimpleNamespace()) == (None, {"a": 1}, "k")
            assert method({"a": 1}, context=SimpleNamespace()) == (None, {"a": 1}, "k")


class Roomy:
    """Static methods whose parameters look like those of methods."""

    @staticmethod
    @inject(backend=memory())
    def below(event: Any, context: Any, dry: Any = False) -> Any:
        """Say what it got."""
        return event, context.secrets.key, dry

    @staticmethod
    @inject(backend=memory())
    def required(event: Any, lambda_context: Any, dry: Any) -> Any:
        """Say what it got."""
        return event, lambda_context.secrets.key, dry

    @staticmethod
    @inject(backend=memory())
    def renamed(record: Any, context: Any, dry: Any) -> Any:
        """Say what it got."""
        return record, context.secrets.key, dry

    @inject(backend=memory())
    @staticmethod
    def above(event: Any, context: Any, dry: Any) -> Any:
        """Say what it got."""
        return event, context.secrets.key, dry

    @inject(backend=memory())
    @staticmethod
    def all_of_them(*args: Any) -> Any:
        """Say what it got."""
        return args[0], args[1].secrets.key, args[2]


@pytest.mark.parametrize("name", ["below", "required", "renamed", "above", "all_of_them"])
def test_a_third_parameter_makes_no_method_of_a_staticmethod(name: str) -> None:
    """Its kind is not guessed where it can be known: by names, a default, or what is below ours."""
    for owner in (Roomy, Roomy()):
        assert getattr(owner, name)(1, SimpleNamespace(), 2) == (1, "k", 2)


def test_a_classmethod_may_hand_its_class_over_as_an_argument() -> None:
    """From Python 3.13 on, `classmethod` passes its class as a plain first argument."""
    below: Any = Calls.__dict__["below_classmethod"].__func__
    assert below(Child, {}, SimpleNamespace()) == ("Child", {}, "k")


def wrapping(function: Any) -> Any:
    """Wrap a function, as many decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@wrapt.decorator
def traced(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """Call the function, as the decorators of tracers do."""
    return wrapped(*args, **kwargs)


class Decorated:
    """Handlers between ours and other decorators."""

    def method(self, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return self, event, context.secrets.key

    copied = wrapping(method)
    proxied = traced(method)
    cached = functools.lru_cache(method)
    above_copied = inject(backend=memory())(copied)
    above_proxied = inject(backend=memory())(proxied)
    above_cached = inject(backend=memory())(cached)
    between = traced(above_proxied)
    of_class: Any = classmethod(above_proxied)


class Hashed:
    """A context that `functools.lru_cache` takes."""


@pytest.mark.parametrize("name", ["above_copied", "above_proxied", "above_cached", "between"])
def test_methods_below_other_decorators_are_methods(name: str) -> None:
    """Trap: a decorator may return an object, which binds to an instance in its own way."""
    instance = Decorated()
    assert getattr(instance, name)(1, Hashed()) == (instance, 1, "k")
    assert getattr(Decorated, name)(instance, 1, Hashed()) == (instance, 1, "k")
    assert list(getattr(instance, name).secrets.declarations) == ["key"]
    assert Decorated.of_class(1, Hashed()) == (Decorated, 1, "k")


@pytest.mark.parametrize("name", ["method", "copied", "proxied", "cached"])
def test_bound_methods_of_any_decorator_are_bound(name: str) -> None:
    """A bound method gets event and context in their places, whatever is below it."""
    instance = Decorated()
    bound = getattr(instance, name)
    again = functools.update_wrapper(functools.partial(bound), Decorated.method)
    for handler in (bound, wrapping(bound), again):
        assert inject(backend=memory())(handler)(1, Hashed()) == (instance, 1, "k")
    assert inject(backend=memory())(bound).__self__ is instance


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_a_classmethod_below_a_decorator_of_another_type_is_refused(kind: Any) -> None:
    """Only the outermost decorator can be a classmethod that Python binds."""
    problem = rf"method\(\): another decorator.*Put @{kind.__name__} on top\."
    with pytest.raises(DeclarationError, match=problem):
        inject(backend=memory())(traced(kind(Decorated.method)))


def test_methods_named_like_those_of_an_event_are_methods() -> None:
    """Trap: guessing methods by name swapped secret and event for `get` and `update`."""
    event = {"a": 1}
    assert Calls().get(event, None) == ("instance", "k", None)
    assert Calls().update(event, None) == ("instance", {"a": 1}, "k")
    assert Calls().update(event, None, "mine") == ("instance", {"a": 1}, "mine")
    assert Calls.update(Calls(), event, None, "mine") == ("instance", {"a": 1}, "mine")

    @inject(backend=memory(), into="event")
    def update(event: Any, context: Any) -> Any:
        return event["secrets"].key

    assert update({}, None) == "k"


@pytest.mark.parametrize(
    "name",
    [
        *("method", "below_classmethod", "above_classmethod"),
        *("below_staticmethod", "above_staticmethod"),
    ],
)
def test_methods_offer_their_secrets(name: str) -> None:
    """A method has `secrets` as a function does, through the class and an instance."""
    for owner in (Calls, Calls()):
        offered = getattr(owner, name).secrets
        assert offered.declarations == {"key": Secret("prod/key")}


class Handler:
    """A callable object."""

    def __call__(self, event: Any, context: Any) -> Any:
        """Return the secret."""
        return event, context.secrets.key


def plain(event: Any, context: Any, *, suffix: str = "") -> Any:
    """Return the secret."""
    return event, context.secrets.key + suffix


@pytest.mark.parametrize(
    ("callable_", "expected"),
    [
        (Handler(), "k"),
        (Handler().__call__, "k"),
        (plain, "k"),
        (functools.partial(plain, suffix="!"), "k!"),
        (functools.partial(functools.partial(plain), suffix="?"), "k?"),
        (functools.partial(Handler()), "k"),
        (lambda event, context: (event, context.secrets.key), "k"),
        (Calls().method.__wrapped__.__get__(Calls()), "k"),
    ],
)
def test_whatever_can_be_called_can_be_a_handler(callable_: Any, expected: str) -> None:
    """Objects, bound methods, partials and lambdas take secrets as functions do."""
    handler = inject(backend=memory())(callable_)
    assert handler({"a": 1}, SimpleNamespace())[-2:] == ({"a": 1}, expected)
    assert handler(event={"a": 1}, context=SimpleNamespace())[-2:] == ({"a": 1}, expected)
    assert list(handler.secrets.declarations) == ["key"]
    assert callable(handler)


def keywords(event: Any, context: Any, *, key: str) -> None:
    """Take the secret as a keyword argument."""


@pytest.mark.parametrize("kind", [Mock, MagicMock])
@pytest.mark.parametrize(
    ("options", "specified"),
    [({}, None), ({}, plain), ({"into": "event"}, plain), ({"into": "kwargs"}, keywords)],
)
def test_a_mock_can_be_a_handler(kind: type[Mock], options: Any, specified: Any) -> None:
    """A mock has any attribute, but is neither a coroutine function nor has it any code."""
    mock = kind(return_value=3, **({"spec": specified} if specified else {}))
    handler = inject(backend=memory(), **options)(mock)
    assert handler({}, SimpleNamespace()) == 3
    mock.assert_called_once()


def test_a_partial_of_a_class_is_not_bound() -> None:
    """As an attribute of a class, a decorated partial does not get the instance."""

    class Owner:
        handler = inject(backend=memory())(functools.partial(plain, suffix="!"))

    assert Owner().handler({}, SimpleNamespace()) == ({}, "k!")


def test_a_method_may_call_its_instance_something_else() -> None:
    """Three parameters make a method, even if the context has a default."""

    class Owner:
        @inject(backend=memory())
        def handler(this: Any, event: Any, context: Any = None) -> Any:  # noqa: N805
            return this, context.secrets.key

    owner = Owner()
    assert owner.handler({}, SimpleNamespace()) == (owner, "k")


def later_a_method(self: Any, event: Any, context: Any) -> Any:
    """Say what it got."""
    return self, (event.get("secrets") or context.secrets).key


@pytest.mark.parametrize("into", ["context", "event"])
def test_a_function_may_become_a_method_later(into: str) -> None:
    """A function outside of a class, whose first parameter is `self`, gets its instance."""
    handle = inject(backend=memory(), into=into)(later_a_method)
    owner: Any = type("Owner", (), {"handle": handle})()
    context = SimpleNamespace()
    assert owner.handle({}, context) == (owner, "k")
    assert owner.handle({}, context=context) == (owner, "k")
    assert owner.handle(event={}, context=context) == (owner, "k")


def test_an_async_mock_can_be_a_handler() -> None:
    """An AsyncMock is a coroutine function."""
    handler = inject(backend=memory())(AsyncMock(return_value=3))
    assert asyncio.run(handler({}, SimpleNamespace())) == 3


def test_a_partial_that_brings_its_event_is_called_with_the_rest() -> None:
    """The caller need not pass an event that a partial has already bound."""
    handler = inject(backend=memory())(functools.partial(plain, {"bound": 1}))
    assert handler(context=SimpleNamespace()) == ({"bound": 1}, "k")


def test_a_class_can_be_a_handler() -> None:
    """A class can be a handler, and its `__init__` finds the secrets."""

    class Response:
        def __init__(self, event: Any, context: Any) -> None:
            self.key = context.secrets.key

    handler = inject(backend=memory())(Response)
    response = handler({}, SimpleNamespace())
    assert (type(response), response.key) == (Response, "k")


def renamed(payload: Any, /, lambda_context: Any) -> Any:
    """Use other parameter names."""
    return payload, lambda_context.secrets.key


def other_names(evt: Any, ctx: Any) -> Any:
    """Use other parameter names."""
    return evt, ctx.secrets.key


def test_event_and_context_may_be_called_anything() -> None:
    """Both may be passed by position or by keyword, whatever the parameters are called."""
    handler = inject(backend=memory())(other_names)
    context = SimpleNamespace()
    for got in (
        handler({}, context),
        handler({}, ctx=context),
        handler(evt={}, ctx=context),
        handler(ctx=context, evt={}),
        inject(backend=memory())(renamed)({}, lambda_context=context),
    ):
        assert got == ({}, "k")


@pytest.mark.parametrize(
    "call",
    [
        lambda handler, context: handler({"a": 1}, context),
        lambda handler, context: handler({"a": 1}, context=context),
        lambda handler, context: handler(event={"a": 1}, context=context),
        lambda handler, context: handler(context=context, event={"a": 1}),
    ],
)
@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_event_and_context_may_come_by_keyword(call: Any, into: str) -> None:
    """Calls by position and by keyword give the same result, for every target."""

    @inject(backend=memory(), into=into)
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        found = {"context": getattr(context, "secrets", None), "event": event.get("secrets")}
        return event["a"], (found.get(into) or secrets)["key"]

    assert call(handler, SimpleNamespace()) == (1, "k")


@pytest.mark.parametrize("names", ["evt, ctx=None", "payload, *, context", "event, *rest"])
def test_an_event_of_any_name_takes_the_values_by_keyword(names: str) -> None:
    """With values in the event, its parameter may be called anything, too."""
    first = names.partition(",")[0]
    scope: dict[str, Any] = {}
    exec(f"def handler({names}): return {first}['secrets'].key", scope)  # noqa: S102 - ours
    handler = inject(backend=memory(), into="event")(scope["handler"])
    assert handler(**{first: {}}, **({"context": None} if "context" in names else {})) == "k"


def test_the_order_of_keyword_arguments_does_not_matter() -> None:
    """The parameter called `event` gets the values, although another one comes first."""

    @inject(backend=memory(), into="event")
    def handler(*, context: Any, event: Any) -> Any:
        return event["secrets"].key

    assert handler(event={}, context=None) == handler(context=None, event={}) == "k"


def test_annotations_are_not_evaluated_where_python_does_that_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From Python 3.14 on, the event's type may be imported only for type checkers."""
    real = inspect.signature

    def signature(function: Any, *, annotation_format: str = "value") -> inspect.Signature:
        if annotation_format != "string":
            raise NameError("name 'Event' is not defined")
        return real(function)

    late: Any = SimpleNamespace(Format=SimpleNamespace(STRING="string"))
    monkeypatch.setattr(inspect, "signature", signature)
    monkeypatch.setitem(sys.modules, "annotationlib", late)
    context = SimpleNamespace()
    assert inject(backend=memory())(other_names)(evt={}, ctx=context) == ({}, "k")
    into_kwargs = inject(backend=memory(), into="kwargs")(lambda event, context, key: key)
    assert into_kwargs({}, context, "mine") == "mine"


def test_a_builtin_without_a_signature_is_called_by_position() -> None:
    """A builtin without a signature still gets event and context by position."""
    handler = inject(backend=memory())(max)
    context = SimpleNamespace()
    with pytest.raises(TypeError, match="not supported between"):
        handler({}, context)
    assert vars(context) == {}
    with pytest.raises(InjectionError, match="called without one"):
        handler({})


# The decorator itself


def test_the_decorator_takes_the_options_that_it_promises() -> None:
    """Both public functions have the documented options, with the documented defaults."""
    parameters = inspect.signature(inject_secrets).parameters
    assert parameters["declarations"].kind is inspect.Parameter.POSITIONAL_ONLY
    options: dict[str, Any] = {
        "into": "context",  # "kwargs" for declarations in the signature
        "key": "secrets",
        "ttl": None,
        "backend": "auto",
        "timeout": 5.0,
        "jitter": 0.1,
        "stale_if_error": 3600,
        "refresh_ahead": 0,
        "refresh_on": (),
        "prefetch": False,
        "observer": None,
    }
    assert {name: p.default for name, p in parameters.items()} == {"declarations": None, **options}
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in options)
    resolving = inspect.signature(resolve_secrets).parameters
    shared = options.keys() - {"into", "key", "refresh_on", "prefetch"}
    assert resolving.keys() == {"declarations", *shared}
    assert all(resolving[name].default == options[name] for name in shared)


def test_one_decorator_serves_several_handlers() -> None:
    """A decorator can be kept and applied again; each handler has secrets of its own."""
    decorate = inject(backend=memory())
    first, second = decorate(plain), decorate(other_names)
    assert first({}, SimpleNamespace()) == second({}, SimpleNamespace()) == ({}, "k")
    assert first.secrets is not second.secrets
    assert plain.__name__ == "plain"
    assert not hasattr(plain, "secrets")


def test_any_mapping_declares() -> None:
    """Any mapping of declarations works, and later changes to it have no effect."""
    handler = inject_secrets(MappingProxyType(KEY), backend=memory())(plain)
    assert handler({}, SimpleNamespace()) == ({}, "k")
    declarations = {"key": "prod/key"}
    handler = inject_secrets(declarations, backend=memory())(plain)
    declarations["other"] = "missing"
    assert handler({}, SimpleNamespace()) == ({}, "k")


@pytest.mark.parametrize("wrong", [None, 5, "handler", {}, object()])
def test_what_cannot_be_called_cannot_be_decorated(wrong: Any) -> None:
    """A handler must be callable."""
    with pytest.raises(DeclarationError, match="expected a function, got"):
        inject(backend=memory())(wrong)


@pytest.mark.parametrize("wrong", ["prod/db", ["prod/db"], 5, {"prod/db"}])
def test_declarations_that_map_no_names_are_refused(wrong: Any) -> None:
    """A string or a list instead of a mapping is refused before a function is decorated."""
    with pytest.raises(DeclarationError, match="expected a mapping such as"):
        inject_secrets(wrong, backend=memory())


def test_all_that_is_declared_wrong_is_found_when_the_decorator_is_applied() -> None:
    """A wrong declaration is not left to the first invocation."""
    for wrong in ("", "vault:x", "prod/db#a[", 5, None):
        with pytest.raises(DeclarationError, match="'key': "):
            inject_secrets({"key": wrong}, backend=memory())(plain)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"into": "environment"}, "must be 'context', 'event' or 'kwargs', not "),
        ({"into": ""}, "must be 'context', 'event' or 'kwargs', not "),
        ({"into": []}, "must be 'context', 'event' or 'kwargs', not "),
        ({"into": None}, "must be 'context', 'event' or 'kwargs', not "),
        ({"key": ""}, "key must be a valid identifier, not "),
        ({"key": "my key"}, "key must be a valid identifier, not "),
        ({"key": None}, "key must be a valid identifier, not "),
        ({"key": 5, "into": "event"}, "key must be a non-empty string, not 5"),
        ({"key": "", "into": "event"}, "key must be a non-empty string, not ''"),
        ({"ttl": -1}, "ttl must be a number of seconds ≥ 0, not "),
        ({"ttl": float("nan")}, "ttl must be a number of seconds ≥ 0, not "),
        ({"ttl": True}, "ttl must be a number of seconds ≥ 0, not "),
        ({"ttl": "60"}, "ttl must be a number of seconds ≥ 0, not "),
        ({"timeout": -1}, "timeout must be a number of seconds ≥ 0, not "),
        ({"timeout": 0}, "timeout must be a finite number of seconds above 0, not "),
        ({"timeout": float("inf")}, "timeout must be a finite number of seconds above 0, not "),
        ({"timeout": None}, "timeout must be a number of seconds ≥ 0, not "),
        ({"timeout": True}, "timeout must be a number of seconds ≥ 0, not "),
        ({"jitter": -0.1}, "jitter must be a number from 0 to 1, not -0.1"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1, not 1.1"),
        ({"jitter": "0.1"}, "jitter must be a number from 0 to 1, not '0.1'"),
        ({"stale_if_error": -1}, "stale_if_error must be a number of seconds ≥ 0, not "),
        ({"stale_if_error": None}, "stale_if_error must be a number of seconds ≥ 0, not "),
        ({"refresh_ahead": -1}, "refresh_ahead must be a number of seconds ≥ 0, not "),
        ({"refresh_ahead": False}, "refresh_ahead must be a number of seconds ≥ 0, not "),
        ({"prefetch": 1}, "prefetch must be True or False, not "),
        ({"prefetch": "yes"}, "prefetch must be True or False, not "),
        ({"observer": "print"}, "observer must be a plain function that takes one event, not str"),
        ({"observer": observe}, "takes one event, not a coroutine function."),
        ({"backend": "vault"}, "a fetch() method, got 'vault'."),
        ({"backend": None}, "a fetch() method, got NoneType"),
        ({"backend": object()}, "a fetch() method, got object"),
        (
            {"backend": MemoryBackend},
            "the class MemoryBackend. Pass an object: MemoryBackend().",
        ),
    ],
)
def test_a_wrong_option_is_refused_when_the_decorator_is_applied(
    options: dict[str, Any], problem: str
) -> None:
    """An invalid value raises a `DeclarationError` that names the option and the problem."""
    with pytest.raises(DeclarationError) as raised:
        inject(**{"backend": memory(), **options})(plain)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"timeout": 0.001}, {"jitter": 0}, {"jitter": 1}, {"ttl": 0}, {"ttl": float("inf")}]
)
def test_the_ends_of_a_range_are_in_it(options: dict[str, Any]) -> None:
    """The limits of each range are accepted."""
    assert callable(inject(backend=memory(), **options)(plain))


def test_an_option_that_does_not_exist_is_refused() -> None:
    """A misspelled option raises a `TypeError`."""
    with pytest.raises(TypeError, match="max_age"):
        inject(max_age=5)


# The decorator and declarations in the signature


def test_without_a_mapping_the_signature_declares() -> None:
    """`@inject_secrets` and `@inject_secrets(…)` read the annotated parameters."""

    @inject_secrets
    def bare(event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]) -> Any:
        return key

    @inject_secrets(ttl=60, into="kwargs")
    def configured(event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]) -> Any:
        return key

    with lambda_secrets.testing.override_secrets({"prod/key": "k"}):
        assert bare({}, None) == configured({}, None) == "k"
        assert bare({}, None, key="mine") == "mine"


class Annotating:
    """Declares in the signatures of its methods."""

    @inject_secrets
    def method(self, event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]) -> Any:
        """Return the secret."""
        return key

    @inject_secrets
    @classmethod
    def above_classmethod(
        cls, event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]
    ) -> Any:
        """Return the secret."""
        return cls.__name__, key

    @classmethod
    @inject_secrets
    def below_classmethod(
        cls, event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]
    ) -> Any:
        """Return the secret."""
        return cls.__name__, key

    @inject_secrets
    @staticmethod
    def above_staticmethod(
        event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]
    ) -> Any:
        """Return the secret."""
        return key


def test_methods_of_any_kind_declare_in_their_signature() -> None:
    """Methods work without options, above or below the other decorator."""
    with lambda_secrets.testing.override_secrets({"prod/key": "k"}):
        assert Annotating().method({}, None) == "k"
        assert Annotating.above_classmethod({}, None) == ("Annotating", "k")
        assert Annotating.below_classmethod({}, None) == ("Annotating", "k")
        assert Annotating.above_staticmethod({}, None) == "k"


@pytest.mark.parametrize("into", ["context", "event"])
def test_declarations_in_the_signature_go_nowhere_else(into: Any) -> None:
    """Declarations in the signature are only passed as keyword arguments."""
    with pytest.raises(DeclarationError, match="declarations in the signature are passed as"):

        @inject_secrets(into=into)
        def handler(event: Any, context: Any, *, key: Annotated[str, Secret("prod/key")]) -> None:
            """Take it."""


# Prefetch


def test_prefetch_resolves_at_import() -> None:
    """With `prefetch=True` the values are there before the first invocation."""
    backend = Recorder({"prod/key": "k"})
    handler = inject(backend=backend, prefetch=True)(plain)
    assert len(backend.calls) == 1
    assert handler({}, SimpleNamespace()) == ({}, "k")
    assert len(backend.calls) == 1


def test_without_prefetch_nothing_is_fetched_at_import() -> None:
    """By default nothing is fetched before the first invocation."""
    backend = Recorder({"prod/key": "k"})
    inject(backend=backend)(plain)
    assert backend.calls == []


@pytest.mark.parametrize("failure", [BackendError("sealed"), SecretNotFoundError("gone"), None, 5])
def test_a_failed_prefetch_is_logged_and_forgotten(
    failure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed prefetch never breaks the import; the first invocation resolves again."""
    backend = Recorder({"prod/key": failure})
    with caplog.at_level(logging.WARNING, "lambda_secrets"):
        handler = inject(backend=backend, prefetch=True)(plain)
    (record,) = caplog.records
    assert record.getMessage().startswith("Prefetch failed; the first invocation reads again.")
    assert "'key' (prod/key)" in record.getMessage()
    backend.answers["prod/key"] = "k"
    assert handler({}, SimpleNamespace()) == ({}, "k")


def test_a_prefetch_without_the_variable_does_not_break_the_import(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Outside Lambda a test may still override what the unset variable would name."""
    handler = inject_secrets({"key": "env:UNSET_KEY"}, backend=memory(), prefetch=True)(plain)
    assert "The environment variable UNSET_KEY is unset or empty" in caplog.text
    with override_secrets({"env:UNSET_KEY": "k"}):
        assert handler({}, SimpleNamespace())[-1] == "k"


def test_a_prefetch_goes_the_backends_own_way() -> None:
    """A backend with a `prefetch` method of its own is asked through it at import."""

    class Ready(Recorder):
        def prefetch(self, sources: Any, *, timeout: float) -> Any:
            return dict.fromkeys(sources, "early")

    backend = Ready({"prod/key": "late"})
    handler = inject(backend=backend, prefetch=True)(plain)
    assert handler({}, SimpleNamespace()) == ({}, "early")
    handler.secrets.clear()
    assert handler({}, SimpleNamespace()) == ({}, "late")


def test_a_prefetch_inside_an_override_reads_the_override() -> None:
    """Inside an override, the backend is not asked at import either."""

    class Forbidden(Recorder):
        def prefetch(self, sources: Any, *, timeout: float) -> Any:
            raise AssertionError

    with lambda_secrets.testing.override_secrets({"prod/key": "theirs"}):
        handler = inject(backend=Forbidden({}), prefetch=True)(plain)
        assert handler({}, SimpleNamespace()) == ({}, "theirs")


def test_under_snapstart_nothing_is_prefetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot would hold the values of a prefetch."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    backend = Recorder({"prod/key": "k"})
    handler = inject(backend=backend, prefetch=True)(plain)
    assert backend.calls == []
    assert handler({}, SimpleNamespace()) == ({}, "k")

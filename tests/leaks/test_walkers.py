"""Encoders, exporters and crash reporters that walk objects reach names, but no values."""

from __future__ import annotations

import contextlib
import json
import pickle
import traceback
import warnings
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import cattrs
import jsonpickle
import pytest
from aws_lambda_powertools.event_handler.openapi.encoders import (
    jsonable_encoder as powertools_encoder,
)
from aws_lambda_powertools.shared.json_encoder import Encoder
from fastapi.encoders import jsonable_encoder
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lambda_secrets import (
    AppConfig,
    LiveSecrets,
    Parameter,
    ParameterTree,
    Secret,
    SecretNotFoundError,
    Secrets,
    Source,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._values import Wrapped, opaque
from tests.support import canary
from tests.support.canary import DOCUMENT, DOCUMENT_TEXT, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Vault:
    """A backend that holds no values; a `MemoryBackend` would hold those that it was given."""

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> dict[Source, Any]:
        """Return the known values, and an error for any other."""
        values: dict[str, Any] = {"doc": DOCUMENT_TEXT, "text": TEXT}
        missing = SecretNotFoundError("it does not exist")
        return {source: values.get(source.name, missing) for source in sources}


BACKEND = Vault()


def secrets() -> Secrets:
    """Return values of every shape."""
    declared: dict[str, Any] = {
        "doc": "doc#@",
        "text": "text",
        "absent": Secret("no", default=TEXT),
    }
    return resolve_secrets(declared, backend=BACKEND)


def live() -> LiveSecrets:
    """Return live secrets that have been read."""
    read = LiveSecrets({"doc": "doc#@", "absent": Secret("no", default=TEXT)}, backend=BACKEND)
    assert read.doc == DOCUMENT
    return read


class Typed(LiveSecrets):
    """Live secrets with a default in their class."""

    text: Annotated[str, Secret("text")]
    absent: Annotated[str, Secret("no")] = TEXT


def handler() -> Any:
    """Return a handler that has been called."""

    @inject_secrets
    def injected(*, it: Annotated[str, Secret("no")] = TEXT) -> int:
        return len(it)

    return injected


THINGS: dict[str, Callable[[], Any]] = {
    "Secrets": secrets,
    "LiveSecrets": live,
    "typed LiveSecrets": lambda: Typed(backend=BACKEND),
    "handler.secrets": lambda: handler().secrets,
    "Secret": lambda: Secret("no", default=DOCUMENT),
    "Parameter": lambda: Parameter("/no", default=[TEXT]),
    "ParameterTree": lambda: ParameterTree("/no/", default={"a": TEXT}),
    "AppConfig": lambda: AppConfig("a", "e", "p", default=TEXT),
    "opaque": lambda: opaque(DOCUMENT),
    "Wrapped": lambda: Wrapped(SimpleNamespace(text=TEXT), shared=True),
}


def walked(thing: Any, seen: set[int]) -> Iterator[str]:
    """Walk an object as crash reporters do: items, slots, instance attributes."""
    if id(thing) in seen or isinstance(thing, type):
        return
    kept_by = type(thing).__module__
    if kept_by.startswith("tests.") and kept_by != __name__:
        return  # another test's backend, which the shared cache still knows
    seen.add(id(thing))
    yield canary._attempted(lambda: repr(thing))
    inside: list[Any] = []
    with contextlib.suppress(NotImplementedError):  # by urllib3's pools, which have a __dict__
        if isinstance(thing, Mapping):
            inside += [*thing.keys(), *thing.values()]
        elif isinstance(thing, Iterable) and not isinstance(thing, (str, bytes)):
            inside += thing
    inside += getattr(thing, "__dict__", {}).values()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            inside.append(getattr(thing, slot, None))
    for part in inside:
        yield from walked(part, seen)


def exported(thing: Any) -> str:
    """Return what OpenTelemetry exports for an attribute."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("call") as span:
        span.set_attribute("it", thing)
        span.add_event("read", {"it": thing})
    return "".join(span.to_json() for span in exporter.get_finished_spans())


def pickled(thing: Any, **options: Any) -> Any:
    """Return jsonpickle's encoding of an object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of jsonpickle's next defaults
        return jsonpickle.encode(thing, **options)


def diff(config: pytest.Config, thing: Any) -> str:
    """Return pytest's explanation of a failed assertion."""
    other: dict[str, Any] = {"doc": {}}
    compared = config.hook.pytest_assertrepr_compare
    told = compared(config=config, op="==", left=thing, right=other)
    told += compared(config=config, op="==", left=other, right=thing)
    return "\n".join(line for part in told for line in part)


WALKERS: dict[str, Callable[[Any], Any]] = {
    "a walker": lambda thing: list(walked(thing, set())),
    "jsonpickle": pickled,
    "jsonpickle without types": lambda thing: pickled(thing, unpicklable=False),
    "jsonpickle without references": lambda thing: pickled(thing, make_refs=False),
    "cattrs": lambda thing: cattrs.unstructure({"it": thing}),
    "FastAPI": lambda thing: jsonable_encoder({"it": thing}),
    "Powertools' resolver": lambda thing: powertools_encoder({"it": thing}),
    "Powertools' JSON": lambda thing: json.dumps({"it": thing}, cls=Encoder),
    "OpenTelemetry": exported,
    "vars": vars,
    "dict": dict,
    "list": list,
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", WALKERS)
@pytest.mark.parametrize("what", THINGS)
def test_walker_reaches_no_value(what: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Cases 28 and 29: each walker either refuses or shows only names and types."""
    thing = THINGS[what]()
    shown = canary._attempted(lambda: WALKERS[how](thing))
    assert not canary.is_in(shown)
    assert not canary.is_in(caplog.text)


@pytest.mark.parametrize(
    "what", ["Secrets", "LiveSecrets", "typed LiveSecrets", "handler.secrets", "Wrapped"]
)
def test_properties_of_what_holds_values_reach_none(what: str) -> None:
    """A walker that reads properties too reaches no value."""
    shown = canary._attempted(lambda: pickled(THINGS[what](), include_properties=True))
    assert not canary.is_in(shown)


@pytest.mark.parametrize("what", THINGS)
def test_pytest_shows_no_value_where_an_assertion_fails(
    what: str, request: pytest.FixtureRequest
) -> None:
    """Pytest explains a failed `assert context.secrets == {…}` without a value."""
    assert not canary.is_in(diff(request.config, THINGS[what]()))


def failing(*_: Any) -> NoReturn:
    """Fail below our frames, without a value in the message."""
    raise OSError("failed")


def locals_reached(error: BaseException) -> Iterator[str]:
    """Walk the locals of our frames, free variables included."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(canary.PACKAGE):
            for value in dict(frame.f_locals).values():
                yield from walked(value, set())


def transforms_badly(value: Any) -> NoReturn:
    """Interrupt a read that already has the value."""
    raise KeyboardInterrupt


READS: dict[str, Callable[[], Any]] = {
    "a transform": lambda: resolve_secrets(
        {"it": Secret("doc", transform=transforms_badly)}, backend=BACKEND
    ),
    "build": lambda: resolve_secrets({"it": Secret("doc", build=failing)}, backend=BACKEND),
    "a handler": lambda: inject_secrets({"it": "doc#@"}, backend=BACKEND)(failing)(
        {}, SimpleNamespace()
    ),
    "a handler that is retried": lambda: inject_secrets(
        {"it": "doc#@"}, backend=BACKEND, refresh_on=OSError
    )(failing)({}, SimpleNamespace()),
}


@pytest.mark.parametrize("what", READS)
def test_walker_through_our_frames_reaches_no_value(what: str) -> None:
    """An error from a read or a handler leaves no value in the frames that it passes."""
    with pytest.raises((OSError, KeyboardInterrupt)) as caught:
        READS[what]()
    texts = list(locals_reached(caught.value))
    assert texts
    assert not any(map(canary.is_in, texts))


class CallableObject:
    """A handler that is an object."""

    def __call__(self, event: Any, context: Any, **values: Any) -> NoReturn:
        """Fail, with the values in reach."""
        failing()


@pytest.mark.parametrize("handler", [lambda event, context, **values: failing(), CallableObject()])
@pytest.mark.parametrize("how", [*WALKERS.values(), pickle.dumps])
def test_keyword_arguments_of_an_outer_layer_cannot_be_encoded(
    handler: Any, how: Callable[[Any], Any]
) -> None:
    """No local of our frames can be expanded, encoded or pickled to another layer's values."""
    inner = inject_secrets({"other": "doc#@"}, backend=BACKEND)(handler)
    outer: Any = inject_secrets({"it": "text"}, into="kwargs", backend=BACKEND)(inner)
    with pytest.raises(OSError, match="failed") as caught:
        outer({}, SimpleNamespace())
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if frame.f_code.co_filename.startswith(canary.PACKAGE):
            for value in dict(frame.f_locals).values():
                assert not canary.is_in(canary._attempted(lambda: how(value)))  # noqa: B023


def test_walker_would_find_a_value() -> None:
    """The walker of these tests sees what other classes hold."""

    class Slotted:
        __slots__ = ("value",)
        value: Any

    slotted = Slotted()
    slotted.value = {"a": [SimpleNamespace(text=TEXT)]}
    assert any(map(canary.is_in, walked(slotted, set())))

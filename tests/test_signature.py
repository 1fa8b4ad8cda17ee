"""Declarations in the signature: which are read, and which are refused."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NewType, TypeVar

import pytest
import typing_extensions

from lambda_secrets import (
    DeclarationError,
    LiveSecrets,
    MemoryBackend,
    Parameter,
    Secret,
    SecretValueError,
    inject_secrets,
)
from lambda_secrets._signature import declared_in
from lambda_secrets._sources import Mismatch
from lambda_secrets._values import opaque
from lambda_secrets.testing import override_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets.elsewhere import Imaginary  # type: ignore[import-not-found]  # there is none


@dataclass
class Login:
    """A plain dataclass."""

    user: str


Declared = typing_extensions.TypeAliasType("Declared", Annotated[int, Secret("prod/secret")])

T = TypeVar("T")
FromSecret = typing_extensions.TypeAliasType(
    "FromSecret", Annotated[T, Secret("prod/secret")], type_params=(T,)
)

SECRET = Secret("prod/secret")


# Reading the signature


def test_declarations_of_a_signature() -> None:
    """Only declaration objects in `Annotated` count; strings and other metadata do not."""

    @inject_secrets(ttl=60)
    def handler(
        event: Imaginary,
        context: Annotated[Imaginary, "the context"],
        *,
        db: Annotated[Login, "prod/other", Secret("prod/db"), "a remark"],
        key: Annotated[str, Secret("prod/stripe", "keys.live")],
        verbose: Annotated[bool, "no secret"] = False,
    ) -> tuple[Login, str, bool]:
        return db, key, verbose

    assert handler.secrets.declarations == {
        "db": Secret("prod/db"),
        "key": Secret("prod/stripe", "keys.live"),
    }
    assert handler.secrets.cache_info()["db"]["ttl"] == 60
    with override_secrets({"prod/db": {"user": "u"}, "prod/stripe": {"keys": {"live": "k"}}}):
        assert handler({}, None) == (Login("u"), "k", False)
        assert handler({}, None, verbose=True) == (Login("u"), "k", True)


def test_a_secret_that_a_variable_names_is_converted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The annotation decides the conversion, wherever the name of the secret stands."""

    @inject_secrets
    def handler(event: Any, context: Any, *, it: Annotated[int, Parameter("env:WORKERS")]) -> int:
        return it

    monkeypatch.setenv("WORKERS", "/prod/workers")
    for key in ("ssm:/prod/workers", "env:WORKERS"):
        with override_secrets({key: "4"}):
            assert handler({}, None) == 4


def test_annotations_need_not_be_strings() -> None:
    """Annotations are read without `from __future__ import annotations` too."""
    source = (
        "@inject_secrets\n"
        "def handler(event, context, *, it: Annotated[Login, Secret('prod/secret')]): return it\n"
    )
    names = dict(globals())
    exec(compile(source, "<handler>", "exec", dont_inherit=True), names)  # noqa: S102 - our own
    with override_secrets({"prod/secret": {"user": "u"}}):
        assert names["handler"]({}, None) == Login("u")


def test_a_part_of_an_annotation_may_be_a_string() -> None:
    """Forward references inside a type are resolved too."""

    def handler(event: Any, context: Any, *, it: Any) -> Any:
        return it

    handler.__annotations__ = {"it": Annotated[list["Login"], SECRET]}
    with override_secrets({"prod/secret": '[{"user": "u"}]'}):
        assert inject_secrets(handler)({}, None) == [Login("u")]


def test_alias_may_hold_the_declaration() -> None:
    """`type Declared = Annotated[int, Secret(…)]` shares a declaration between handlers."""

    @inject_secrets
    def handler(event: Any, context: Any, *, it: Declared) -> Any:
        return it

    @inject_secrets
    def generic(*, login: FromSecret[Login]) -> Login:
        return login

    with override_secrets({"prod/secret": "5"}):
        assert handler({}, None) == 5
    with override_secrets({"prod/secret": {"user": "u"}}):
        assert generic() == Login("u")


def test_python_default_stands_in() -> None:
    """A parameter's default replaces a missing secret, but hides no other failure."""

    @inject_secrets
    def handler(
        event: Any,
        context: Any,
        *,
        name: Annotated[str, Secret("prod/name")] = "nobody",
        port: Annotated[int | None, Secret("prod/db", "port", ttl=5)] = None,
        login: Annotated[Login, Secret("prod/login", version_stage="OLD")] = Login("default"),  # noqa: B008
    ) -> Any:
        return name, port, login

    with override_secrets({"prod/db": {}}):
        assert handler({}, None) == ("nobody", None, Login("default"))
    with override_secrets({"prod/name": "n", "prod/db": {"port": 5}}):
        assert handler({}, None) == ("n", 5, Login("default"))
    with (
        override_secrets({"prod/db": {"port": "no number"}}),
        pytest.raises(SecretValueError) as caught,
    ):
        handler({}, None)
    assert list(caught.value.failures) == ["port"]
    port = handler.secrets.declarations["port"]
    assert (port.default, port.ttl, port.path) == (None, 5, "port")
    assert port == Secret("prod/db", "port", ttl=5, default=None)


def test_default_of_the_declaration_stands_in() -> None:
    """A default inside the declaration works as it does in a mapping."""

    @inject_secrets
    def handler(
        event: Any, context: Any, *, it: Annotated[str, Secret("prod/none", default="d")]
    ) -> Any:
        return it

    with override_secrets({}):
        assert handler({}, None) == "d"


def test_explicit_arguments_win_and_are_not_fetched() -> None:
    """An argument that is passed wins, and its secret need not exist."""

    @inject_secrets
    def handler(
        event: Any,
        context: Any,
        *,
        one: Annotated[str, Secret("prod/one")],
        two: Annotated[Login, Secret("prod/two")],
    ) -> Any:
        return one, two

    with override_secrets({}):
        assert handler({}, None, one="1", two=Login("u")) == ("1", Login("u"))
    with override_secrets({"prod/two": {"user": "u"}}):
        assert handler({}, None, one="1") == ("1", Login("u"))


class Service:
    """A class with handlers."""

    prefix = "> "

    @inject_secrets
    def method(self, event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        """Use the instance."""
        return self.prefix + it

    @classmethod
    @inject_secrets
    def on_class(cls, event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        """Use the class."""
        return cls.prefix + it

    @staticmethod
    @inject_secrets
    def on_nothing(event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        """Use neither."""
        return it

    @inject_secrets
    async def awaited(self, event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        """Wait a little."""
        await asyncio.sleep(0)
        return self.prefix + it

    def __call__(self, event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        """Be a handler itself."""
        return self.prefix + it


def test_every_kind_of_handler_can_declare() -> None:
    """Methods of all kinds, coroutines and callable objects can declare secrets."""
    service = Service()
    bound = inject_secrets(service.__call__)
    called = inject_secrets(service)
    with override_secrets({"prod/secret": "s"}):
        assert service.method({}, None) == "> s"
        assert service.on_class({}, None) == Service.on_class({}, None) == "> s"
        assert service.on_nothing({}, None) == Service.on_nothing({}, None) == "s"
        assert asyncio.run(service.awaited({}, None)) == "> s"
        assert bound({}, None) == called({}, None) == "> s"


def test_either_order_with_classmethod_and_staticmethod() -> None:
    """The decorator works above `classmethod` and `staticmethod`; type checkers want it below."""

    def on_class(cls: Any, event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        return f"{cls.__name__} {it}"

    def on_nothing(event: Any, context: Any, *, it: Annotated[str, SECRET]) -> str:
        return it

    above: Any = inject_secrets
    handlers = {
        "on_class": above(classmethod(on_class)),
        "on_nothing": above(staticmethod(on_nothing)),
    }
    made: Any = type("Made", (), handlers)
    with override_secrets({"prod/secret": "s"}):
        assert made.on_class({}, None) == made().on_class({}, None) == "Made s"
        assert made.on_nothing({}, None) == made().on_nothing({}, None) == "s"


def test_declarations_are_read_through_other_decorators() -> None:
    """A decorator that keeps the signature, below or above, changes nothing."""

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    @traced
    @inject_secrets
    @traced
    def handler(event: Any, context: Any, *, it: Annotated[int, SECRET]) -> Any:
        return it

    with override_secrets({"prod/secret": "5"}):
        assert handler({}, None) == 5


def test_signature_and_mapping_can_be_stacked() -> None:
    """One layer can inject by signature, and another into the context."""

    @inject_secrets
    @inject_secrets({"url": "ssm:/prod/url"})
    def handler(event: Any, context: Any, *, it: Annotated[int, SECRET]) -> Any:
        return it, context.secrets.url

    with override_secrets({"prod/secret": "5", "ssm:/prod/url": "u"}):
        assert handler({}, SimpleNamespace()) == (5, "u")
    assert list(handler.secrets.declarations) == ["it", "url"]


# Wrong declarations


def no_declaration(event: Any, context: Any, *, it: str = "") -> None:
    """Declare nothing."""


def only_a_string(event: Any, context: Any, *, it: Annotated[str, "prod/secret"]) -> None:
    """Use a string where other libraries do."""


def positional(event: Any, context: Any, it: Annotated[str, SECRET]) -> None:
    """Forget the star."""


def variadic(event: Any, context: Any, **it: Annotated[str, SECRET]) -> None:
    """Ask for any number of them."""


def twice(event: Any, context: Any, *, it: Annotated[str, SECRET, Secret("prod/other")]) -> None:
    """Declare one parameter twice."""


def inside(event: Any, context: Any, *, it: Annotated[str, SECRET] | None = None) -> None:
    """Declare inside of a union."""


def inside_as_well(
    event: Any, context: Any, *, it: Annotated[list[Annotated[str, Secret("a")]], SECRET]
) -> None:
    """Declare the whole and a part."""


def two_defaults(
    event: Any, context: Any, *, it: Annotated[str, Secret("prod/secret", default="a")] = "b"
) -> None:
    """Give two defaults."""


def undefined(event: Any, context: Any, *, it: Annotated[Imaginary, SECRET]) -> None:
    """Import the type for type checkers only."""


def undefined_without_declaration(
    event: Any, context: Any, *, key: Annotated[str, SECRET], other: Imaginary = None
) -> None:
    """Have another parameter, whose unreadable annotation might hold a declaration."""


def broken(event: Any, context: Any, *, it: Annotated[1 / 0, SECRET]) -> None:  # type: ignore[valid-type]  # wrong on purpose
    """Have an annotation that raises."""


def empty(event: Any, context: Any, *, it: Annotated[str, Secret("")]) -> None:
    """Declare without a name."""


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            no_declaration,
            (
                "Cannot inject secrets into no_declaration(): its signature declares none. "
                "Annotate a keyword-only parameter, as in *, db: Annotated[str, Secret('prod/db')],"
                " or pass a mapping."
            ),
        ),
        (only_a_string, "Cannot inject secrets into only_a_string(): its signature declares none."),
        (
            positional,
            (
                "Cannot declare 'it': the parameter is not keyword-only. "
                "Put a '*,' before it in the signature."
            ),
        ),
        (variadic, "Cannot declare 'it': the parameter is not keyword-only."),
        (twice, "Cannot declare 'it': it has 2 declarations. Keep one of them."),
        (inside_as_well, "Cannot declare 'it': it has 2 declarations."),
        (
            inside,
            (
                "Cannot declare 'it': the declaration must stand directly in Annotated[…], as in "
                "Annotated[str, Secret(…)]."
            ),
        ),
        (
            two_defaults,
            (
                "Cannot declare 'it': both its declaration and its parameter have a default. "
                "Keep one of them."
            ),
        ),
        (
            undefined,
            (
                "Cannot read the annotation of 'it': name 'Imaginary' is not defined. "
                "Define it at module level, before the handler, and import it outside of "
                "`if TYPE_CHECKING:`."
            ),
        ),
        (
            undefined_without_declaration,
            "Cannot read the annotation of 'other': name 'Imaginary' is not defined.",
        ),
        (
            broken,
            (
                "Cannot read the annotation of 'it': it raised ZeroDivisionError: "
                "division by zero. Correct it."
            ),
        ),
        (empty, "'it': Cannot declare secret '': use a non-empty string as the name."),
        (
            len,
            (
                "Cannot inject secrets into this builtin_function_or_method: its signature cannot "
                "be read. Decorate a function, or pass a mapping."
            ),
        ),
        (functools.partial(positional), "Cannot inject secrets into this partial: "),
        (
            LiveSecrets,
            (
                "Cannot inject secrets into this type: its signature cannot be read. "
                "Pass an instance: LiveSecrets()."
            ),
        ),
    ],
)
def test_wrong_signature_is_refused(function: Callable[..., Any], expected: str) -> None:
    """A wrong signature is an error on decoration, and the message says what to do."""
    with pytest.raises(DeclarationError) as caught:
        inject_secrets(function)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize("into", ["context", "event"])
def test_signature_goes_with_keyword_arguments_only(into: Any) -> None:
    """Declarations in the signature are refused with any `into` other than "kwargs"."""
    with pytest.raises(DeclarationError, match="passed as keyword arguments"):
        inject_secrets(into=into)(positional)


def test_annotations_are_asked_for_as_python_3_14_wants_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With deferred evaluation, unknown names in other parameters' annotations do no harm."""

    def get_annotations(function: Any, *, format: int) -> dict[str, Any]:  # noqa: A002
        assert format == 3  # annotationlib.Format.FORWARDREF
        return dict(undefined_event.__annotations__)

    def handler(event: Any, context: Any, *, it: Any) -> None: ...

    handler.__annotations__ = {}
    monkeypatch.setattr(inspect, "get_annotations", get_annotations)
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    assert list(declared_in(handler, "")) == ["it"]


class Lazy:
    """Stands for an alias (`type X = Imaginary`), which Python 3.12 evaluates when asked."""

    @property
    def __value__(self) -> Any:
        raise NameError("name 'Imaginary' is not defined")

    def __call__(self) -> None:
        """Be a type for `typing`."""


def test_an_alias_may_name_what_only_type_checkers_import() -> None:
    """That does no harm in the type of the event, and is a `DeclarationError` in a secret's."""

    def handler(event: Any, context: Any, *, it: Any) -> None: ...

    handler.__annotations__ = {"event": Lazy(), "it": Annotated[str, SECRET]}
    assert list(declared_in(handler, "")) == ["it"]
    for hint in (Lazy(), Annotated[Lazy(), SECRET]):
        handler.__annotations__ = {"it": hint}
        with pytest.raises(DeclarationError, match="annotation of 'it': name 'Imaginary' is not"):
            declared_in(handler, "")


def undefined_event(event: Imaginary, context: Any, *, it: Annotated[str, SECRET]) -> None:
    """Import the type of the event for type checkers only."""


def test_converter_returns_and_never_raises() -> None:
    """A converter returns its failure, so that no exception has the secret in its frames."""
    declared = declared_in(undefined_event, "")
    assert declared == {"it": SECRET}
    assert isinstance(declared["it"].convert(opaque(b"")), Mismatch)


class Owned(Secret):
    """An application's own declaration class, with an attribute."""

    owner: str

    def __init__(self, name: str, owner: str) -> None:
        """Set it, bypassing the guard that makes declarations immutable."""
        super().__init__(name)
        object.__setattr__(self, "owner", owner)


def test_a_default_leaves_a_declaration_of_ones_own_as_it_is() -> None:
    """Attributes that a subclass adds survive when the parameter has a default."""

    @inject_secrets
    def handler(
        event: Any, context: Any, *, it: Annotated[str, Owned("a", "team")] = "dev"
    ) -> None: ...

    declared: Any = handler.secrets.declarations["it"]
    assert (declared.owner, declared.default) == ("team", "dev")


# Typed subclasses of LiveSecrets


class Pool:
    """A class that no JSON converts to."""

    def __init__(self, login: dict[str, str]) -> None:
        """Keep the login."""
        self.login = login


class Config(LiveSecrets):
    """Declares by annotations."""

    login: Annotated[Login, Secret("prod/db")]
    workers: Annotated[int, Parameter("/prod/workers")] = 4
    pool: Annotated[Pool, Secret("prod/db", "@", build=Pool)]
    remark: str = "not declared"
    limit: ClassVar[int] = 3
    name: Final = "config"


BACKEND = MemoryBackend({"prod/db": '{"user": "u"}'})


def test_annotations_of_a_class_declare() -> None:
    """Values are converted as in a signature; a class attribute is the default."""
    config = Config(backend=BACKEND)
    assert list(config.declarations) == ["login", "workers", "pool"]
    assert config.login == Login("u")
    assert config.workers == 4
    assert config.pool.login == {"user": "u"}
    assert (config.remark, config.limit, config.name) == ("not declared", 3, "config")
    assert Config(backend=MemoryBackend({"ssm:/prod/workers": "7"})).workers == 7


def test_a_class_shows_no_declared_name() -> None:
    """Case 49: a default does not stay on the class, and inspecting it fetches nothing."""
    config = Config(backend=BACKEND)
    assert not {"login", "workers", "pool"} & {*dir(config), *dir(Config)}
    assert not hasattr(Config, "workers")
    assert repr(config) == "<Config: login, workers, pool>"
    assert dict(config.cache_info())["workers"]["age"] is None


def test_a_subclass_inherits_declarations() -> None:
    """A subclass inherits declarations, and may replace them."""

    class More(Config):
        login: Annotated[dict[str, str], Secret("prod/db")]  # type: ignore[assignment]  # another type than Config declares
        hosts: Annotated[list[str], Parameter("/hosts")] = []  # noqa: RUF012 - it is a default

    more = More(backend=BACKEND)
    assert more.login == {"user": "u"}
    assert more.hosts == []
    assert set(more.declarations) == {"login", "workers", "pool", "hosts"}
    assert Config(backend=BACKEND).login == Login("u")


class Extra(LiveSecrets):
    """Declares another secret, and one that Config has too."""

    key: Annotated[str, Secret("prod/key")] = "none"
    workers: Annotated[int, Parameter("/prod/extra")] = 9


class Child(Config):
    """Declares nothing."""


class Other(Config):
    """Declares two secrets of Config again."""

    workers: Annotated[int, Parameter("/prod/other")] = 5
    login: Annotated[Any, Secret("prod/db", "@", build=Pool)]


def test_a_class_has_the_declarations_of_all_its_bases() -> None:
    """For one name that of the class where Python would look first, converter included."""

    class Both(Child, Extra):
        pass

    class Reversed(Extra, Child):
        pass

    class Diamond(Child, Other):
        pass

    assert list(Both(backend=BACKEND).declarations) == ["key", "workers", "login", "pool"]
    assert Both(backend=BACKEND).key == "none"
    assert Both(backend=BACKEND).login == Login("u")
    for kind, workers in ((Both, 4), (Reversed, 9), (Diamond, 5)):
        assert kind(backend=BACKEND).workers == workers
    assert Diamond(backend=BACKEND).login.login == {"user": "u"}


def test_an_attribute_of_a_subclass_is_the_new_default() -> None:
    """Trap: ``workers = 8`` would hide the secret."""

    class Larger(Child):
        workers: int = 8
        login = Login("nobody")

    doubled: Any = property(lambda self: 2 * self["workers"])
    twice: Any = type("Twice", (Larger,), {"workers": doubled})
    larger = Larger(backend=MemoryBackend({}))
    assert (larger.workers, larger["workers"], larger.login) == (8, 8, Login("nobody"))
    assert Larger(backend=MemoryBackend({"ssm:/prod/workers": "7"})).workers == 7
    assert Config(backend=MemoryBackend({})).workers == 4
    assert "workers" not in dir(Larger)
    assert twice(backend=MemoryBackend({})).workers == 16


def test_names_in_its_own_body_are_found_by_a_class() -> None:
    """A class may use the names that it defines in its annotations."""

    class Here(LiveSecrets):
        Inner = NewType("Inner", Login)
        it: Annotated[Inner, Secret("prod/db")]

    assert Here(backend=BACKEND).it == Login("u")


def test_a_class_that_declares_nothing_takes_a_mapping() -> None:
    """A subclass that only has methods takes a mapping, like LiveSecrets."""

    class Plain(LiveSecrets):
        def url(self) -> str:
            """Return a URL with a secret in it."""
            return f"x://{self.it}"

    assert Plain({"it": "prod/db#user"}, backend=BACKEND).url() == "x://u"


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        ("Annotated[Imaginary, Secret('a')]", "Cannot read the annotation of 'it': name 'Imag"),
        (Annotated[str, Secret("a"), Secret("b")], "Cannot declare 'it': it has 2 declarations"),
        (Annotated[str, Secret("a", default="x")], "have a default"),
    ],
)
def test_a_wrong_class_is_refused_when_it_is_made(annotation: Any, problem: str) -> None:
    """A wrong annotation is refused when the class is defined."""
    body = {"__annotations__": {"it": annotation}, "__module__": __name__, "it": "y"}
    with pytest.raises(DeclarationError, match=problem):
        type("Wrong", (LiveSecrets,), body)


def test_an_object_that_is_built_may_be_of_any_type() -> None:
    """Case 50: with `build`, the annotation is the built type, and nothing is converted."""

    @inject_secrets(backend=BACKEND)
    def handler(*, pool: Annotated[Pool, Secret("prod/db", "@", build=Pool)]) -> Any:
        return pool.login

    assert handler() == {"user": "u"}

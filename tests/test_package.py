"""The package as users meet it: its names, its metadata, and what importing it costs."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from importlib.metadata import distribution, requires
from inspect import ismodule
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import lambda_secrets
from lambda_secrets import _values
from lambda_secrets.backends import _aws

PACKAGE = Path(lambda_secrets.__file__).parent

PUBLIC = {
    "AccessDeniedError",
    "Answer",
    "AppConfig",
    "AutoBackend",
    "AwsBackend",
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "CacheInfo",
    "Declaration",
    "DeclarationError",
    "Event",
    "ExtensionBackend",
    "Fetched",
    "FileBackend",
    "InjectedHandler",
    "InjectionError",
    "LiveSecrets",
    "MemoryBackend",
    "Parameter",
    "ParameterTree",
    "ResolutionError",
    "Retried",
    "SdkBackend",
    "Secret",
    "SecretNotFoundError",
    "SecretValueError",
    "Secrets",
    "SecretsError",
    "ServedStale",
    "Source",
    "clear_cache",
    "inject_secrets",
    "resolve_secrets",
}

HEAVY = {
    "asyncio",
    "boto3",
    "botocore",
    "click",
    "dataclasses",
    "email",
    "http.client",
    "importlib.metadata",
    "inspect",
    "jmespath",
    "msgspec",
    "pydantic",
    "requests",
    "rich",
    "ssl",
    "typing",
    "urllib.request",
    "urllib3",
    "wrapt",
}


def loaded_by(statements: str) -> set[str]:
    """Return the modules that a bare interpreter has loaded after the statements."""
    # -S skips .pth files, which may load anything; the script sets the path instead.
    script = f"import sys; sys.path[:] = {sys.path!r}\n{statements}\nprint(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_all_is_what_is_visible() -> None:
    """Every public name is in `__all__`, and `dir()` shows nothing else."""
    names = lambda_secrets.__all__
    assert sorted(names) == names
    assert [name for name in dir(lambda_secrets) if not name.startswith("_")] == names
    assert all(hasattr(lambda_secrets, name) for name in names)
    defined = {name for name, value in vars(lambda_secrets).items() if not ismodule(value)}
    public = {name for name in defined if not name.startswith("_")}
    assert public - {"TYPE_CHECKING", "annotations"} <= set(names)


def test_promised_names_are_public() -> None:
    """The package exports the promised names, and no others."""
    assert set(lambda_secrets.__all__) == PUBLIC


def test_public_objects_say_what_they_are() -> None:
    """Each public object has a docstring."""
    undocumented = [
        name for name in lambda_secrets.__all__ if not getattr(lambda_secrets, name).__doc__
    ]
    assert undocumented == []


def test_version_is_that_of_the_distribution() -> None:
    """`__version__` is read from the metadata, and only on access."""
    assert lambda_secrets.__version__ == distribution("lambda-secrets").version
    assert "importlib.metadata" not in loaded_by("import lambda_secrets")


def test_the_user_agent_has_the_packages_version() -> None:
    """The hard-coded version matches the metadata, which is too slow to read at a cold start."""
    assert distribution("lambda-secrets").version == _aws.VERSION


def test_types_for_annotations_work_at_run_time() -> None:
    """`Declaration` and `InjectedHandler` can be used where annotations are evaluated."""
    assert isinstance("prod/db", lambda_secrets.Declaration)
    assert isinstance(lambda_secrets.Parameter("/url"), lambda_secrets.Declaration)
    assert not isinstance(None, lambda_secrets.Declaration)
    handler = lambda_secrets.InjectedHandler[..., str]
    assert str(handler).endswith("InjectedHandler[..., str]")


def test_names_for_annotations_are_for_type_checkers() -> None:
    """`_names` resolves private annotations, and no module imports it at run time."""
    names = importlib.import_module("lambda_secrets._names")
    assert get_type_hints(_values.opaque, vars(names))["return"] == names.Opaque
    everything = (
        "import importlib, pkgutil, sys, lambda_secrets as package\n"
        "for module in pkgutil.walk_packages(package.__path__, 'lambda_secrets.'):\n"
        "    if not module.name.endswith(('._names', '__main__', 'pytest_plugin')):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'lambda_secrets._names' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", everything], check=True)


def test_a_decorated_handler_is_an_injected_handler() -> None:
    """Decorated functions and callable objects are `InjectedHandler`s; undecorated ones are not."""

    def plain(event: object, context: object) -> None: ...

    inject: Any = lambda_secrets.inject_secrets({"db": "prod/db"})
    for handler in (plain, functools.partial(plain)):
        assert isinstance(inject(handler), lambda_secrets.InjectedHandler)
        assert not isinstance(handler, lambda_secrets.InjectedHandler)


def test_unknown_attribute_is_an_attribute_error() -> None:
    """An unknown name raises an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lambda_secrets.no_such_name  # type: ignore[attr-defined]  # wrong on purpose


def test_importing_loads_nothing_heavy() -> None:
    """Importing the package loads no SDK, HTTP library, asyncio, wrapt or typing."""
    assert loaded_by("import lambda_secrets") & HEAVY == set()


def test_decorating_a_function_loads_nothing_heavy() -> None:
    """A plain function is wrapped without wrapt, and its declarations are read without jmespath."""
    decorated = """
from lambda_secrets import inject_secrets

@inject_secrets({"db": "prod/db#@", "key": "prod/stripe#keys.live", "url": "ssm:/prod/url"})
def lambda_handler(event, context): ...
"""
    # Python 3.14's logging loads inspect and dataclasses; Lambda's runtime client has loaded it.
    assert loaded_by(decorated) & HEAVY <= loaded_by("import logging")


@pytest.mark.parametrize("declared", ["{'a': 'x#a', 'b': 'x#b'}", "{'a': 'x#keys(@)'}"])
def test_extracting_a_value_loads_nothing_that_only_errors_need(declared: str) -> None:
    """Extracting values, with or without JMESPath, loads neither `_explain` nor `signal`."""
    called = f"""
from types import SimpleNamespace
from lambda_secrets import MemoryBackend, inject_secrets

@inject_secrets({declared}, backend=MemoryBackend({{"x": '{{"a": 1, "b": 2}}'}}))
def lambda_handler(event, context): return len(context.secrets)

assert lambda_handler({{}}, SimpleNamespace()) > 0
"""
    assert loaded_by(called) & {"lambda_secrets._explain", "signal"} == set()


LATE = {
    *("_conversion", "_deep", "_explain", "_extract", "_functions", "_kinds", "_live", "_options"),
    *("_overlap", "_proxy", "_signature", "_steps", "_suspended", "_targets", "_types"),
    *("events", "logging", "testing"),
}


def test_a_plain_handler_loads_nothing_that_it_does_not_use() -> None:
    """The cold start of a plain handler loads no module that only other handlers need."""
    called = """
from lambda_secrets import MemoryBackend, inject_secrets

class Context: ...

@inject_secrets({"db": "prod/db#@"}, backend=MemoryBackend({"prod/db": '{"user": "u"}'}))
def lambda_handler(event, context): return context.secrets.db["user"]

assert lambda_handler({}, Context()) == "u"
"""
    assert loaded_by(called) & {f"lambda_secrets.{name}" for name in LATE} == set()


def test_a_handler_with_a_retry_loads_no_other_targets() -> None:
    """Only `retry_on` needs the stand-in for signatures, which is beside the targets."""
    decorated = """
from lambda_secrets import inject_secrets

@inject_secrets({"db": "prod/db"}, refresh_on=OSError)
def lambda_handler(event, context): ...
"""
    loaded = loaded_by(decorated)
    assert "lambda_secrets._retry" in loaded
    assert "lambda_secrets._targets" not in loaded


def test_every_module_says_what_it_is_for() -> None:
    """A module's docstring starts with one sentence of purpose."""
    for path in PACKAGE.rglob("*.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        assert docstring, path
        assert docstring.partition("\n\n")[0].endswith((".", ":")), path


def test_errors_import_nothing() -> None:
    """`errors` imports nothing, so importing it is cheap and causes no cycle."""
    imports = [
        node
        for node in ast.parse((PACKAGE / "errors.py").read_text("utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [ast.unparse(node) for node in imports] == ["from __future__ import annotations"]


def test_runtime_dependencies_are_two() -> None:
    """The package requires jmespath and wrapt, and nothing else."""
    required = [one for one in requires("lambda-secrets") or [] if "extra ==" not in one]
    names = [one.partition(">")[0].partition("<")[0] for one in sorted(required)]
    assert names == ["jmespath", "wrapt"]


def test_metadata_is_complete() -> None:
    """The distribution states its licence, its Python versions, and that it is typed."""
    metadata = distribution("lambda-secrets").metadata
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert (PACKAGE / "py.typed").is_file()


def test_entry_points_lead_somewhere() -> None:
    """The entry points of the command and the pytest plugin can be loaded."""
    found = {point.group: point for point in distribution("lambda-secrets").entry_points}
    assert found["console_scripts"].name == "lambda-secrets"
    assert callable(found["console_scripts"].load())
    assert found["pytest11"].load() is importlib.import_module("lambda_secrets.pytest_plugin")


@pytest.mark.parametrize("awaited", ["", "async "])
def test_methods_and_coroutines_load_nothing_heavy(awaited: str) -> None:
    """Trap: methods and coroutines loaded asyncio or wrapt at the cold start."""
    decorated = f"""
from lambda_secrets import inject_secrets

class Service:
    @inject_secrets({{"db": "prod/db#@"}})
    {awaited}def handle(self, event, context): ...

Service().handle
"""
    assert loaded_by(decorated) & HEAVY <= loaded_by("import logging")

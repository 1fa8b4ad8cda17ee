"""The example of a custom backend, where it differs from the package's: files and faults."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)
from lambda_secrets._declarations import declare

if TYPE_CHECKING:
    from lambda_secrets import Backend

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_backend"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """Run the example's module."""
    return runpy.run_path(str(EXAMPLE / "app.py"))


def test_its_readme_tells_what_it_answers(
    example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block in the example's README runs as it stands, from the repository's root."""
    monkeypatch.chdir(EXAMPLE.parents[1])
    _, block = (EXAMPLE / "README.md").read_text("utf-8").split("```python\n")
    exec(block.partition("```")[0], {})  # noqa: S102 - our own document
    assert example["lambda_handler"]({}, SimpleNamespace())["mail"] == ["host", "port"]


def test_a_version_is_the_time_of_the_last_change(example: dict[str, Any], tmp_path: Path) -> None:
    """A rewritten file has another version; bytes that are not UTF-8 stay bytes."""
    path = tmp_path / "secrets" / "db"
    path.parent.mkdir()
    backend: Backend = example["FolderBackend"](tmp_path)
    source = declare("db").source
    seen = []
    for n, data in enumerate((b"text", b"\xff")):
        path.write_bytes(data)
        os.utime(path, ns=(n, n))
        answer = backend.fetch([source], timeout=1, fresh=False)[source]
        assert isinstance(answer, Answer)
        seen.append((answer.value, answer.version))
    assert seen == [("text", "0"), (b"\xff", "1")]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (PermissionError(), AccessDeniedError),
        (OSError(5, "Input/output error"), BackendUnavailableError),
        (IsADirectoryError(), SecretNotFoundError),
        (NotADirectoryError(), SecretNotFoundError),
    ],
)
def test_each_fault_of_the_system_has_its_error(
    example: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    fault: OSError,
    kind: type[ResolutionError],
) -> None:
    """A denied, an unreachable and a missing file each have their own error class."""

    def read(_: Path) -> bytes:
        raise fault

    monkeypatch.setattr(Path, "read_bytes", read)
    source = declare("db").source
    backend: Backend = example["FolderBackend"](EXAMPLE)
    answer = backend.fetch([source], timeout=1, fresh=False)[source]
    assert type(answer) is kind


@pytest.mark.parametrize("name", ["../app.py", "ssm:/a/../../app.py", "ssm:/../secrets/"])
def test_no_name_leads_out_of_the_folder(example: dict[str, Any], name: str) -> None:
    """A declaration cannot reach files beside the mounted ones."""
    source = declare(name).source
    backend: Backend = example["FolderBackend"](EXAMPLE / "mounted")
    answer = backend.fetch([source], timeout=1, fresh=False)[source]
    assert type(answer) is BackendError


def test_without_time_nothing_is_read(example: dict[str, Any]) -> None:
    """With no time left, a source is unavailable, which is transient."""
    source = declare("prod/db").source
    backend: Backend = example["FolderBackend"](EXAMPLE / "mounted")
    answer = backend.fetch([source], timeout=0, fresh=False)[source]
    assert type(answer) is BackendUnavailableError


def test_an_empty_folder_is_no_tree(example: dict[str, Any], tmp_path: Path) -> None:
    """A path without parameters does not exist, as in Parameter Store."""
    (tmp_path / "parameters" / "app").mkdir(parents=True)
    (tmp_path / "parameters" / "app" / "x@2").write_text("an old version")
    source = declare("ssm:/app/").source
    answer = example["FolderBackend"](tmp_path).fetch([source], timeout=1, fresh=False)[source]
    assert type(answer) is SecretNotFoundError

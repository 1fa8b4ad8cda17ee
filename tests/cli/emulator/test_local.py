"""Values from tables and from a file."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from lambda_secrets.backends._local import read_secrets_file
from lambda_secrets.cli.emulator import Emulator, local
from lambda_secrets.cli.emulator.local import FileValues, LocalValues
from lambda_secrets.cli.emulator.records import Refused


def _stages(values: LocalValues, *ids: str) -> list[tuple[str, ...]]:
    return [values.secret("a", id_, None).stages for id_ in ids]


def test_rotation_moves_the_stages() -> None:
    """The new version is AWSCURRENT, the one before AWSPREVIOUS, older ones have no stage."""
    values = LocalValues({"secrets": {"a": "1"}})
    ids = [values.secret("a", None, None).version_id]
    with pytest.raises(Refused, match="staging label: AWSPREVIOUS"):
        values.secret("a", None, "AWSPREVIOUS")
    for value in ("2", "3"):
        values.rotate("a", value)
        ids.append(values.secret("a", None, None).version_id)
    assert _stages(values, *ids) == [(), ("AWSPREVIOUS",), ("AWSCURRENT",)]
    assert values.secret("a", None, "AWSPREVIOUS").text == "2"
    assert values.secret("a", ids[0], None).text == "1"


def test_a_number_names_a_version() -> None:
    """A parameter's earlier versions stay; without a number, the newest is read."""
    values = LocalValues({"parameters": {"/a": "1"}})
    values.rotate("ssm:/a", "2")
    values.rotate("ssm:/a", "3")
    assert values.parameter("/a", decrypt=True).value == "3"
    second = values.parameter("/a:2", decrypt=True)
    assert (second.value, second.version, second.selector) == ("2", 2, ":2")
    with pytest.raises(Refused, match="ParameterVersionNotFound"):
        values.parameter("/a:Live", decrypt=True)


@pytest.mark.parametrize(
    ("tables", "target", "text", "expected"),
    [
        ({"parameters": {"/a": ["x"]}}, "ssm:/a", "y,z", ("StringList", "y,z")),
        ({"parameters": {"/a": "x"}}, "ssm:/a", "y,z", ("String", "y,z")),
        ({"parameters": {"/": {"a": "x"}}}, "ssm:/a", "y,z", ("String", "y,z")),
        ({"parameters": {}}, "ssm:/a", {"n": 1}, ("String", '{"n": 1}')),
    ],
)
def test_a_rotated_parameter_keeps_its_type(
    tables: dict[str, Any], target: str, text: Any, expected: tuple[str, str]
) -> None:
    """Text for a StringList is a StringList again."""
    values = LocalValues(tables)
    values.rotate(target, text)
    parameter = values.parameter("/a", decrypt=False)
    assert (parameter.type, parameter.value) == expected


@pytest.mark.parametrize("prefix", ["", "arn:aws:ssm:eu-west-1:123456789012:parameter/"])
def test_a_secret_is_no_parameter(prefix: str) -> None:
    """The name of a value of another kind is an unknown name, in the form of an ARN too."""
    values = LocalValues({"secrets": {"a": "1"}, "appconfig": {"a/e/p": "2"}})
    for name in ("a", "a/e/p", "appconfig:a/e/p"):
        with pytest.raises(Refused, match="ParameterNotFound"):
            values.parameter(prefix + name, decrypt=True)


@pytest.mark.parametrize("name", ["ssm:/a", "appconfig:a/e/p"])
def test_a_target_is_no_name_of_a_secret(name: str) -> None:
    """A client that asks for a secret with a declaration string gets no value, as from AWS."""
    values = LocalValues({"parameters": {"/a": "1"}, "appconfig": {"a/e/p": "2"}})
    with pytest.raises(Refused, match="ResourceNotFoundException"):
        values.secret(name, None, None)


def test_a_rotated_binary_secret_stays_binary() -> None:
    """Text for a binary secret is base64; bytes are bytes."""
    values = LocalValues({"binary": {"a": b"\x00"}})
    values.rotate("a", "AAEC")
    assert values.secret("a", None, None).binary == b"\x00\x01\x02"
    values.rotate("a", b"\xff")
    assert values.secret("a", None, None).binary == b"\xff"


def test_text_for_a_list_that_is_json_is_not_split() -> None:
    """Only a parameter can be a StringList."""
    values = LocalValues({"secrets": {"a": ["x", "y"]}})
    values.rotate("a", '["x", "z"]')
    assert values.secret("a", None, None).text == '["x", "z"]'


def _write(path: Path, tables: object) -> None:
    path.write_text(tables if isinstance(tables, str) else json.dumps(tables))
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def test_a_changed_file_is_a_new_version(tmp_path: Path) -> None:
    """What changed in the file has a new version, what did not has its old one."""
    path = tmp_path / "secrets.json"
    _write(path, {"secrets": {"a": "1", "b": "1", "gone": "1"}, "parameters": {"/a": "1"}})
    values = FileValues(path)
    before = values.secret("b", None, None).version_id
    _write(path, {"secrets": {"a": "2", "b": "1"}, "parameters": {"/a": "22"}})
    assert values.secret("a", None, None).text == "2"
    assert values.secret("a", None, "AWSPREVIOUS").text == "1"
    assert values.secret("b", None, None).version_id == before
    assert values.parameter("/a", decrypt=True).version == 2
    with pytest.raises(Refused, match="can't find the specified secret"):
        values.secret("gone", None, None)


def test_a_parameter_that_becomes_secure_is_a_change(tmp_path: Path) -> None:
    """Its value is the same, but a cache must not serve it in plain text any more."""
    path = tmp_path / "secrets.json"
    _write(path, {"parameters": {"/pin": "1"}})
    values = FileValues(path)
    before = values.revision()
    _write(path, {"secure_strings": {"/pin": "1"}})
    assert values.revision() != before
    assert values.parameter("/pin", decrypt=False).type == "SecureString"


def test_another_working_directory_is_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler may change the working directory; the file is still found where it was."""
    _write(tmp_path / "secrets.json", {"secrets": {"a": "1"}})
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    values = FileValues(Path("secrets.json"), warn=lines.append)
    monkeypatch.chdir("/")
    _write(tmp_path / "secrets.json", {"secrets": {"a": "22"}})
    assert values.secret("a", None, None).text == "22"
    assert lines == []


def test_a_broken_file_keeps_the_last_good_values(tmp_path: Path) -> None:
    """While the file cannot be read, one line says so and the old values are served."""
    path = tmp_path / "secrets.json"
    _write(path, {"secrets": {"a": "1"}, "appconfig": {"a/e/p": "1"}})
    lines: list[str] = []
    values = FileValues(path, warn=lines.append)
    _write(path, "{")
    assert values.secret("a", None, None).text == "1"
    assert values.configuration("a", "e", "p").content == b"1"
    assert len(lines) == 1
    path.unlink()
    assert values.secret("a", None, None).text == "1"
    assert len(lines) == 2
    _write(path, {"secrets": {"a": "333"}})
    assert values.secret("a", None, None).text == "333"


def test_a_revision_waits_until_its_values_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread loads a changed file, another does not take old values for new ones."""
    path = tmp_path / "secrets.json"
    found: list[str | None] = []
    others: list[threading.Thread] = []

    def ask() -> None:
        values.revision()
        found.append(values.secret("a", None, None).text)

    def read(path: Path) -> dict[str, dict[str, Any]]:
        if others:
            others[0].start()
            others[0].join(0.2)
        return read_secrets_file(path)

    monkeypatch.setattr(local, "read_secrets_file", read)
    _write(path, {"secrets": {"a": "1"}})
    values = FileValues(path)
    before = values.revision()
    others.append(threading.Thread(target=ask))
    _write(path, {"secrets": {"a": "2"}})
    assert values.revision() != before
    others[0].join()
    assert found == ["2"]


def test_a_rotation_outlives_an_unrelated_edit(tmp_path: Path) -> None:
    """A rotated value stays until the file itself says something new of it."""
    path = tmp_path / "secrets.json"
    _write(path, {"secrets": {"a": "1"}})
    values = FileValues(path)
    values.rotate("a", "rotated")
    _write(path, {"secrets": {"a": "1", "b": "1"}})
    assert values.secret("a", None, None).text == "rotated"
    _write(path, {"secrets": {"a": "edited", "b": "1"}})
    assert values.secret("a", None, None).text == "edited"


def test_only_local_values_can_be_changed() -> None:
    """Another source of values refuses, and says what can be changed."""

    class Elsewhere:
        secret = parameter = configuration = None

        def serves_appconfig(self) -> bool:
            return False

    emulator = Emulator(Elsewhere())  # type: ignore[arg-type]  # never asked for a value
    with pytest.raises(TypeError, match="only values from a file or a mapping"):
        emulator.rotate("a", "b")

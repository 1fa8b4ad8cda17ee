"""Secrets in a mapping or a file: which values are found, and which mistakes are refused."""

from __future__ import annotations

import base64
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    Answer,
    AppConfig,
    BackendError,
    DeclarationError,
    FileBackend,
    MemoryBackend,
    Parameter,
    ParameterTree,
    Secret,
    SecretNotFoundError,
    resolve_secrets,
)
from lambda_secrets.backends._local import read_secrets_file
from tests.support.reading import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from lambda_secrets._secret import Declaration

TREE: dict[str, Any] = {
    "ssm:/app/a": "1",
    "ssm:/app/deep/b": ["x", "y"],
    "ssm:/app/deep/c": {"k": 1},
    "ssm:/apples": "no part of it",
}


# Memory


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("prod/db", "text", "text"),
        ("prod/db", "", ""),
        ("prod/db", b"\xff", b"\xff"),
        ("prod/db", {"user": "u"}, '{"user": "u"}'),
        ("prod/db", ["a", 1], '["a", 1]'),
        ("arn:aws:secretsmanager:us-east-1:1:secret:x-AbCdEf", "v", "v"),
        ("ssm:/p", "text", "text"),
        ("ssm:/p", ["a", "b"], ["a", "b"]),
        ("ssm:/p", [], []),
        ("ssm:/p", {"k": 1}, '{"k": 1}'),
        ("ssm:p", b"\xff", b"\xff"),
        ("appconfig:a/b/c", {"on": True}, '{"on": true}'),
        ("appconfig:a/b/c", [1], "[1]"),
        (AppConfig("a/x", "b", "c"), b"\xff", b"\xff"),
    ],
)
def test_values_are_held_as_aws_would_answer_them(
    key: str | Declaration, value: Any, expected: Any
) -> None:
    """Text and bytes stay as they are, a parameter's list is a StringList, the rest is JSON."""
    assert fetch(MemoryBackend({key: value}), key) == [expected]


def test_what_is_not_held_is_not_found() -> None:
    """Another name, kind, version or label is a `SecretNotFoundError`."""
    backend = MemoryBackend({"a": "v", "ssm:/p": "v"})
    errors = fetch(
        backend,
        "b",
        "ssm:a",
        "ssm:/p/",
        "appconfig:a/b/c",
        Secret("a", version_id="1" * 32),
        Secret("a", version_stage="AWSPREVIOUS"),
        Parameter("/p", version=1),
        Parameter("/p", label="live"),
    )
    assert {type(error) for error in errors} == {SecretNotFoundError}


def test_versions_are_held_by_declaration_objects() -> None:
    """Each version, stage and label has its own value; AWSCURRENT is the default stage."""
    values: dict[str | Declaration, str] = {
        "a": "current",
        Secret("a", version_stage="AWSPREVIOUS"): "previous",
        Secret("a", version_id="1" * 32): "first",
        "ssm:/p": "latest",
        Parameter("/p", version=1): "oldest",
        Parameter("/p", label="live"): "live",
    }
    assert fetch(MemoryBackend(values), *values) == list(values.values())
    assert fetch(MemoryBackend(values), Secret("a", version_stage="AWSCURRENT")) == ["current"]
    staged = MemoryBackend({Secret("a", version_stage="AWSCURRENT"): "current"})
    assert fetch(staged, "a") == ["current"]


def test_decryption_makes_no_difference_here() -> None:
    """A value is returned as it is, even if it is not to be decrypted."""
    assert fetch(MemoryBackend({"ssm:/p": "v"}), Parameter("/p", decrypt=False)) == ["v"]


def test_a_tree_is_what_is_held_below_its_path() -> None:
    """A tree is keyed by the rest of each name, without versions; it may be one level deep."""
    values: dict[Any, Any] = {**TREE, Parameter("/app/a", version=1): "old"}
    whole, flat = fetch(MemoryBackend(values), "ssm:/app/", ParameterTree("/app", recursive=False))
    assert whole == {"a": "1", "deep/b": ["x", "y"], "deep/c": '{"k": 1}'}
    assert flat == {"a": "1"}


def test_a_tree_can_be_held_as_a_whole() -> None:
    """A dict under the path adds its parameters to those given by name."""
    backend = MemoryBackend(
        {"ssm:/app/": {"a": "1", "deep/b": ["x"], "deep/c": {"k": 1}}, "ssm:/app/d": "2"}
    )
    whole, flat = fetch(backend, "ssm:/app/", ParameterTree("/app/", recursive=False))
    assert whole == {"a": "1", "deep/b": ["x"], "deep/c": '{"k": 1}', "d": "2"}
    assert flat == {"a": "1", "d": "2"}
    (error,) = fetch(MemoryBackend({"ssm:/app/": {}}), "ssm:/app/")
    assert type(error) is SecretNotFoundError


def test_parameter_store_refers_to_secrets() -> None:
    """`/aws/reference/secretsmanager/` reads the secret, unless the mapping has that very name."""
    name = "/aws/reference/secretsmanager/prod/db"
    assert fetch(MemoryBackend({"prod/db": "v"}), f"ssm:{name}") == ["v"]
    assert fetch(MemoryBackend({"prod/db": "v", f"ssm:{name}": "w"}), f"ssm:{name}") == ["w"]


def test_the_mapping_is_read_at_each_fetch() -> None:
    """A change to the mapping shows at the next fetch, like a rotation."""
    values = {"a": "1"}
    backend = MemoryBackend(values)
    assert fetch(backend, "a") == ["1"]
    values["a"] = "2"
    values["b"] = "3"
    assert fetch(backend, "a", "b") == ["2", "3"]


def test_a_mapping_that_has_become_wrong_fails_each_read() -> None:
    """The error says what is wrong, and shows no value."""
    values: dict[str, Any] = {"a": "hunter2"}
    backend = MemoryBackend(values)
    values["b"] = 5
    errors = fetch(backend, "a", "b")
    assert [type(error) for error in errors] == [BackendError] * 2
    assert all("dict, not int" in str(error) for error in errors)
    assert not any("hunter2" in str(error) for error in errors)


def test_what_was_read_does_not_change_with_the_mapping() -> None:
    """Changing a list in the mapping does not change a value that was already read."""
    values = {"ssm:/p": ["a"]}
    (read,) = fetch(MemoryBackend(values), "ssm:/p")
    values["ssm:/p"].append("b")
    assert read == ["a"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"a#b": "v"}, "must not have a path"),
        ({"unknown:a": "v"}, "scheme"),
        ({"": "v"}, "non-empty string"),
        ({5: "v"}, "int"),
        ({"a": None}, "NoneType"),
        ({"a": 5}, "int"),
        ({"a": {"hunter2": object()}}, "cannot be written as JSON"),
        ({"a": {1: {2, 3}}}, "cannot be written as JSON"),
        ({"ssm:/p": ["hunter2", 1]}, "list of strings"),
        ({"ssm:/p/": "hunter2"}, "rest of each"),
        ({"ssm:/p/": {"x": 5}}, "ssm:/p/x"),
        ({"ssm:/p/": {"x": [5]}}, "ssm:/p/x"),
    ],
)
def test_what_cannot_be_held_is_refused_at_once(values: Any, says: str) -> None:
    """A wrong key or value is an error when the backend is made; the error shows no value."""
    with pytest.raises(DeclarationError, match=says) as caught:
        MemoryBackend(values)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_deep_values_are_refused_too() -> None:
    """A list that contains itself, or is nested too deeply for JSON, is a `DeclarationError`."""
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(DeclarationError, match="cannot be written as JSON"):
            MemoryBackend({"a": value})


def test_a_backend_shows_names_only() -> None:
    """The repr shows names only, and an answer cannot be pickled."""
    backend = MemoryBackend({"a": "hunter2", Secret("b", version_id="1" * 32): "hunter2"})
    assert repr(backend) == f"<MemoryBackend: a, b (version_id={'1' * 32})>"
    assert repr(MemoryBackend({})) == "<MemoryBackend: nothing>"
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(Answer("hunter2"))


# Files

TOML = """
[secrets]
"prod/text" = "text"
"prod/json" = { user = "ü", port = 0 }
"prod/list" = [1, 2]

[secrets."prod/table"]
user = "u"

[parameters]
"/prod/url" = "https://a.example"
"/prod/hosts" = ["one", "two"]
"/prod/limits" = { n = 1 }
plain = "p"

[appconfig]
"shop/prod/flags" = { on = true }
"my%2Fshop/prod/text" = "words"

[binary]
"prod/key" = \"\"\"
AAEC
/w==
\"\"\"
"""
EXPECTED: dict[str | Declaration, Any] = {
    "prod/text": "text",
    "prod/json": '{"user": "\\u00fc", "port": 0}',
    "prod/list": "[1, 2]",
    "prod/table": '{"user": "u"}',
    "prod/key": b"\x00\x01\x02\xff",
    "ssm:/prod/url": "https://a.example",
    "ssm:/prod/hosts": ["one", "two"],
    "ssm:/prod/limits": '{"n": 1}',
    "ssm:plain": "p",
    "ssm:/prod/": {
        "url": "https://a.example",
        "hosts": ["one", "two"],
        "limits": '{"n": 1}',
    },
    "ssm:/aws/reference/secretsmanager/prod/text": "text",
    "appconfig:shop/prod/flags": '{"on": true}',
    AppConfig("my/shop", "prod", "text"): "words",
}


def as_json(path: Path) -> bytes:
    """Return the tables of a TOML file as a JSON file."""
    return json.dumps(read_secrets_file(path)).encode()


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    """Every table gives the same values in TOML and in JSON."""
    toml = tmp_path / "secrets.toml"
    toml.write_text(TOML, encoding="utf-8")
    assert fetch(FileBackend(toml), *EXPECTED) == list(EXPECTED.values())
    for name in ("secrets.json", "SECRETS.JSON", "secrets"):
        (tmp_path / name).write_bytes(as_json(toml))
        assert fetch(FileBackend(str(tmp_path / name)), *EXPECTED) == list(EXPECTED.values())
    (error,) = fetch(FileBackend(toml), "missing")
    assert type(error) is SecretNotFoundError


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    """A file may have a byte order mark and CRLF line ends, as from some editors on Windows."""
    for name, text in (
        ("a.toml", '[secrets]\r\na = "v"\r\n'),
        ("a.json", '{"secrets":\r\n{"a": "v"}}'),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert fetch(FileBackend(tmp_path / name), "a") == ["v"]


def test_the_file_is_read_at_each_fetch(tmp_path: Path) -> None:
    """An edit to the file shows at the next fetch, without a restart."""
    path = tmp_path / "secrets.toml"
    backend = FileBackend(path)
    for value in ("1", "2"):
        path.write_text(f'secrets.a = "{value}"')
        assert fetch(backend, "a") == [value]


def test_relative_paths_are_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths, in code or in LAMBDA_SECRETS_FILE, start at the working directory."""
    (tmp_path / "secrets.toml").write_text('secrets.a = "v"')
    monkeypatch.chdir(tmp_path)
    assert fetch(FileBackend("secrets.toml"), "a") == ["v"]
    monkeypatch.setenv("LAMBDA_SECRETS_FILE", "secrets.toml")
    monkeypatch.setenv("LAMBDA_SECRETS_BACKEND", "file")
    assert resolve_secrets({"a": "a"})["a"] == "v"


def test_a_file_backend_shows_its_path(tmp_path: Path) -> None:
    """The repr shows the path, which is not a secret."""
    assert repr(FileBackend(tmp_path / "s.toml")) == f"<FileBackend {str(tmp_path / 's.toml')!r}>"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.toml", b"[secrets]\na = hunter2\n", "line 2, column 5"),
        ("a.toml", b'[secrets]\na = "hunter2', "TOML at end of document"),
        ("a.toml", b"[secrets]\na = [1,\n", "TOML at end of document"),
        ("a.toml", b'[secrets]\na = "x"\na = "hunter2"\n', "line 3"),
        ("a.toml", b'[secrets]\n# caf\xe9\na = "hunter2"', "not UTF-8 at line 2"),
        ("a.toml", b"[secrets]\na = " + b"[" * 100_000, "nested"),
        ("a.toml", b"[secrets]\na = " + b"9" * 5000, "number"),
        ("a.json", b'{"secrets":\n {"a": hunter2}}', "line 2, column 8"),
        ("a.json", b'{"secrets":\n {"a": "caf\xe9"}}', "not UTF-8 at line 2"),
        ("a.json", b'["hunter2"]', "must be an object"),
        ("a.json", b'"hunter2"', "must be an object"),
        ("a.json", b'{"secrets": ' + b"[" * 100_000, "nested"),
        ("a.json", b"", "line 1, column 1"),
        ("a", b'{"secrets": {"a": "x"}, hunter2}', "line 1"),
    ],
)
def test_a_file_that_does_not_parse_is_named_with_the_line(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    """The error names file and line, and shows none of the text, which may be a secret."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BackendError) as caught:
        fetch(FileBackend(tmp_path / name), "a")
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert says in message
    assert "hunter2" not in message
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('password = "hunter2"', "'password' is not one of its tables"),
        ('[secret]\na = "hunter2"', "Did you mean [secrets]?"),
        ('[secure_strings]\na = ["hunter2"]', "secure_strings.a must be a string, not list."),
        (
            '[secure_strings]\na = "hunter2"\n[parameters]\na = "x"',
            "'a' is in 'parameters' and in another table",
        ),
        ('secrets = "hunter2"', "'secrets' is not one of its tables, which are secrets"),
        (
            "[secrets]\na = 5",
            "Cannot hold a: its value must be str, bytes, a list or a dict, not int.",
        ),
        ("[secrets]\na = true", "a list or a dict, not bool."),
        (
            "[parameters]\na = 1979-05-27",
            "Cannot hold ssm:a: its value must be str, bytes, a list or a dict, not date.",
        ),
        ("[secrets]\na = { b = 1979-05-27 }", "cannot be written as JSON"),
        ('[parameters]\na = ["hunter2", 5]', "list of strings"),
        ('[binary]\na = "hunter2!"', "binary.a is not base64"),
        ('[binary]\na = "QQ"', "binary.a is not base64"),
        ('[binary]\na = "QUJD!"', "binary.a is not base64"),
        ('[binary]\na = "ü"', "binary.a is not base64"),
        ('[binary]\na = ["QQ=="]', "binary.a must be a string, not list."),
        (
            '[binary]\na = "QQ=="\n[secrets]\na = "hunter2"',
            "'a' is in 'secrets' and in another table",
        ),
        ('[secrets]\n"a#b" = "hunter2"', "must not have a path"),
        ('[secrets]\n"a:b" = "hunter2"', "scheme"),
        ('[appconfig]\na = "hunter2"', "application/environment/profile"),
        ('[parameters]\n"/a/" = "hunter2"', "rest of each"),
    ],
)
def test_a_file_that_says_something_else_is_named_with_the_entry(
    tmp_path: Path, text: str, says: str
) -> None:
    """An error about a table, name or value names the entry, and shows no value."""
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BackendError) as caught:
        read_secrets_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert says in message
    assert "hunter2" not in message
    assert caught.value.__context__ is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file, or a folder in its place, is an error that names the path."""
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(BackendError, match="Check the path") as caught:
            resolve_secrets({"a": "a"}, backend=FileBackend(path))
        assert str(path) in str(caught.value)


def test_binary_of_any_bytes(tmp_path: Path) -> None:
    """Every byte comes back from base64 text."""
    data = bytes(range(256))
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"binary": {"a": base64.b64encode(data).decode()}}))
    assert fetch(FileBackend(path), "a") == [data]


@pytest.mark.parametrize("values", [3, "prod/db", [("prod/db", "v")]])
def test_values_that_are_no_mapping_are_refused(values: Any) -> None:
    """Values that are not a mapping are refused when the backend is made."""
    with pytest.raises(DeclarationError, match="values must be a mapping"):
        MemoryBackend(values)


@pytest.mark.parametrize("path", [3, None, b"secrets.toml", ""])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """Anything but a path is refused: `open` would take a number for a file descriptor."""
    with pytest.raises(DeclarationError, match="expected the path of a file"):
        FileBackend(path)

"""Values from tables in memory, or from a file that is read again when it changes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lambda_secrets._extract import decoded_base64
from lambda_secrets.backends import own_region
from lambda_secrets.backends._local import SCHEMES, SECRET_REFERENCE, read_secrets_file
from lambda_secrets.cli.emulator.records import (
    ConfigurationRecord,
    ParameterRecord,
    Refused,
    SecretRecord,
    Unpicklable,
)
from lambda_secrets.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ACCOUNT = "123456789012"
_SECRET, _PARAMETER, _CONFIGURATION = (SCHEMES[t] for t in ("secrets", "parameters", "appconfig"))


@dataclass(slots=True, repr=False)
class _Version(Unpicklable):
    number: int
    value: Any
    created: datetime
    stages: tuple[str, ...]


class LocalValues:
    """Tables in the form of a secrets file, each value with its version history.

    A value's target is its scheme and name: `prod/db`, `ssm:/prod/url` or `appconfig:a/e/p`. What
    reads a value raises `Refused` where AWS would.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._lock = threading.RLock()
        self._histories: dict[str, list[_Version]] = {}
        self._loaded: dict[str, Any] = {}
        self._encrypted: frozenset[str] = frozenset()
        self._revision = 0
        self._load(tables)

    def rotate(self, target: str, value: Any) -> None:
        """Add a version of a target, which need not exist yet.

        Text for an existing StringList is split at commas, text for a binary secret is base64.
        """
        with self._lock:
            self._add(target, self.like_current(target, value))
            self._revision += 1

    def like_current(self, target: str, value: Any) -> Any:
        """Return the value that `rotate` makes of a text, from the type of the current value.

        Raises:
            ValueError: when a binary secret gets text that is not base64.
        """
        if target not in self._histories or not isinstance(value, str):
            return value
        known = self._histories[target][-1].value
        if isinstance(known, bytes):
            return decoded_base64(value)
        is_list = isinstance(known, list) and target.startswith(_PARAMETER)
        return value.split(",") if is_list else value

    def targets(self) -> list[str]:
        """Return the targets of all values."""
        with self._lock:
            self._renew()
            return list(self._histories)

    def revision(self) -> int:
        """Return the number of loads and rotations; the values here are then those of the last."""
        with self._lock:  # whoever comes while another loads must not read the old values
            self._renew()
            return self._revision

    def serves_appconfig(self) -> bool:
        """Whether there is a configuration."""
        return any(target.startswith(_CONFIGURATION) for target in self._histories)

    def secret(self, name: str, version_id: str | None, stage: str | None) -> SecretRecord:
        """Return the version with this id and stage; AWSCURRENT when neither is given."""
        with self._lock:
            found = self._find(_SECRET, name)
            if found is None:
                message = "Secrets Manager can't find the specified secret."
                raise Refused("ResourceNotFoundException", message)
            known, history = found
            wanted = stage or (None if version_id else "AWSCURRENT")
            for version in history:
                id_ = _version_id(known, version.number)
                if version_id in {None, id_} and (wanted is None or wanted in version.stages):
                    return self._secret_record(name, known, id_, version)
        asked = {"VersionId": version_id, "staging label": wanted}
        what = " and ".join(f"{name}: {value}" for name, value in asked.items() if value)
        message = f"Secrets Manager can't find the specified secret value for {what}"
        raise Refused("ResourceNotFoundException", message)

    def parameter(self, name: str, *, decrypt: bool) -> ParameterRecord:
        """Return the newest version, or the one that `:version` names; there are no labels."""
        asked, selector = _split_selector(name)
        if asked.startswith(SECRET_REFERENCE):
            return self._referenced_secret(asked, selector, decrypt=decrypt)
        with self._lock:
            found = self._find(_PARAMETER, asked)
            if found is None:
                raise Refused("ParameterNotFound", f"There is no parameter {asked}.")
            known, history = found
            version = next(
                (v for v in reversed(history) if selector in {None, str(v.number)}), None
            )
            if version is None:
                message = f"Systems Manager could not find version {selector} of {asked}."
                raise Refused("ParameterVersionNotFound", message)
            value = version.value
            kind = "StringList" if isinstance(value, list) else "String"
            value = ",".join(value) if kind == "StringList" else _text(value)
            if known in self._encrypted:
                kind = "SecureString"
            if known in self._encrypted and not decrypt:
                value = _ciphertext(known, version.number)
        name, arn = asked, known
        if not _is_name(asked):
            name, arn = known if _is_name(known) else _also_known_as(known)[1], asked
        if _is_name(arn):
            arn = self._arn("ssm", f":parameter{'' if arn.startswith('/') else '/'}{arn}")
        return ParameterRecord(
            arn=arn,
            name=name,
            type=kind,
            value=value,
            version=version.number,
            modified=version.created,
            selector=selector and f":{selector}",
        )

    def configuration(
        self, application: str, environment: str, profile: str
    ) -> ConfigurationRecord:
        """Return the newest version."""
        parts = (application, environment, profile)
        name = "/".join(part.replace("/", "%2F") for part in parts)
        with self._lock:
            found = self._find(_CONFIGURATION, name)
            if found is None:
                raise Refused("ResourceNotFoundException", f"No configuration {name}", 404)
            version = found[1][-1]
        content_type = "text/plain" if isinstance(version.value, str) else "application/json"
        return ConfigurationRecord(_text(version.value).encode(), content_type, str(version.number))

    def _load(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Load the tables: a value that differs from the one last loaded is a new version."""
        loaded = dict(_entries(tables))
        with self._lock:
            for target in self._loaded.keys() - loaded.keys():
                self._histories.pop(target, None)
            for target, value in loaded.items():
                if target not in self._loaded or self._loaded[target] != value:
                    self._add(target, value)
            self._loaded = loaded
            self._encrypted = frozenset(tables.get("secure_strings", ()))
            self._revision += 1

    def _add(self, target: str, value: Any) -> None:
        history = self._histories.setdefault(target, [])
        for version in history:
            version.stages = ("AWSPREVIOUS",) if "AWSCURRENT" in version.stages else ()
        history.append(_Version(len(history) + 1, value, _now(), ("AWSCURRENT",)))

    def _renew(self) -> None:
        """Reload changed tables: not needed here, only `rotate` changes them."""

    def _find(self, scheme: str, asked: str) -> tuple[str, list[_Version]] | None:
        """Return the entry of a name or ARN, whichever of the two the tables have."""
        self._renew()
        wanted = _also_known_as(asked)
        known = [name for of, name in map(_parts_of, self._histories) if of == scheme]
        names = [name for name in wanted if name in known]
        names += [
            name
            for name in known
            if set(wanted) & set(_also_known_as(name)) and _may_be_one(name, asked)
        ]
        return (names[0], self._histories[scheme + names[0]]) if names else None

    def _secret_record(
        self, asked: str, known: str, version_id: str, version: _Version
    ) -> SecretRecord:
        name = asked if _is_name(asked) else known
        name = name if _is_name(name) else _also_known_as(name)[-1]
        arns = [arn for arn in (asked, known) if not _is_name(arn)]
        arn = max(arns, key=len, default=self._arn("secretsmanager", f":secret:{name}"))
        if arn.endswith(f":{name}"):
            arn += f"-{_suffix(name)}"
        is_binary = isinstance(version.value, bytes)
        return SecretRecord(
            arn,
            name,
            version_id,
            version.stages,
            version.created,
            text=None if is_binary else _text(version.value),
            binary=version.value if is_binary else None,
        )

    def _referenced_secret(
        self, name: str, selector: str | None, *, decrypt: bool
    ) -> ParameterRecord:
        if not decrypt:
            message = "WithDecryption flag must be True for retrieving a Secret Manager secret."
            raise Refused("ValidationException", message)
        is_id = selector is not None and len(selector) == len(str(uuid.NAMESPACE_URL))
        secret_name = name.removeprefix(SECRET_REFERENCE)
        version_id, stage = (selector, None) if is_id else (None, selector)
        secret = self.secret(secret_name, version_id, stage)
        source = {
            "ARN": secret.arn,
            "CreatedDate": secret.created.timestamp(),
            "Name": secret.name,
            "SecretString": secret.text,
            "VersionId": secret.version_id,
            "VersionStages": list(secret.stages),
        }
        return ParameterRecord(
            arn=secret.arn,
            name=name,
            type="SecureString",
            value=secret.text or "",
            version=0,
            modified=secret.created,
            selector=selector and f":{selector}",
            source_result=json.dumps(source),
        )

    def _arn(self, service: str, rest: str) -> str:
        return f"arn:aws:{service}:{own_region() or 'us-east-1'}:{ACCOUNT}{rest}"


class FileValues(LocalValues):
    """A secrets file. While it is malformed or missing, its last good values are served."""

    def __init__(self, path: Path, *, warn: Callable[[str], None] = lambda _: None) -> None:
        self._path = path.absolute()  # the process may change its working directory
        self._warn = warn
        self._seen = self._fingerprint()
        super().__init__(read_secrets_file(path))

    def _renew(self) -> None:
        seen = self._fingerprint()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._load(read_secrets_file(self._path))
        except BackendError as error:
            self._warn(f"The last good values stay: {error}")

    def _fingerprint(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):  # a pipe can be read only once
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _entries(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield each target with its value."""
    for table, scheme in SCHEMES.items():
        for name, value in tables.get(table, {}).items():
            if table == "binary" and isinstance(value, str):
                yield name, decoded_base64(value)
            elif scheme == _PARAMETER and name.endswith("/") and isinstance(value, dict):  # a tree
                for rest, below in value.items():
                    yield scheme + name + rest, below
            else:
                yield scheme + name, value


def _parts_of(target: str) -> tuple[str, str]:
    """Return the scheme and the name of a target; the scheme of a secret is empty."""
    scheme = next((s for s in (_PARAMETER, _CONFIGURATION) if target.startswith(s)), _SECRET)
    return scheme, target.removeprefix(scheme)


def _ciphertext(name: str, number: int) -> str:
    """Return a made-up ciphertext, which does not depend on the value."""
    noise = hashlib.sha512(f"{name}:{number}".encode()).digest()
    return "AQICAHh" + base64.b64encode(noise).decode()


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_name(name: str) -> bool:
    return not name.startswith("arn:")


def _also_known_as(name: str) -> list[str]:
    """Return a name or ARN, and the names that an ARN stands for: the bare one comes last."""
    if _is_name(name):
        return [name]
    resource = name.split(":", 5)[-1]
    if resource.startswith("parameter/"):
        below = resource.removeprefix("parameter/")
        return [name, f"/{below}", below]
    whole = resource.removeprefix("secret:")
    return list(dict.fromkeys([name, whole, re.sub(r"-[A-Za-z0-9]{6}$", "", whole)]))


def _may_be_one(one: str, other: str) -> bool:
    """Whether two names or ARNs may belong to the same region and account."""
    return _is_name(one) or _is_name(other) or one.split(":")[:5] == other.split(":")[:5]


def _split_selector(name: str) -> tuple[str, str | None]:
    head, colon, selector = name.rpartition(":")
    if not colon or selector.startswith("parameter/"):
        return name, None
    return head, selector


def _suffix(name: str) -> str:
    """Return the six characters that end a secret's ARN, always the same for a name."""
    return base64.b32encode(hashlib.sha256(name.encode()).digest())[:6].decode()


def _version_id(name: str, number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}:{number}"))


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)

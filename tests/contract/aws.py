"""The account that the contract suite puts behind every backend."""

from __future__ import annotations

from typing import Any

_ALL_SORTS = 'aß漢🔑"\\\n\t<&>\u2028'
LARGE = _ALL_SORTS * (65_536 // len(_ALL_SORTS.encode()))
BYTES = bytes(range(256))
FLAGS = '{"dark": {"enabled": true}, "limit": 0}'
ODD = "odd/a+b=c.d@e_f-g"


def version_id(number: int) -> str:
    """Return the id of a secret's n-th version; AWS's ids have at least 32 characters."""
    return f"{number:032}"


VERSION_IDS = {number: version_id(number) for number in (1, 2)}


class Versions:
    """A secret's or a parameter's values, oldest first: the n-th value is version n."""

    def __init__(self, *values: Any, labels: dict[str, int] | None = None) -> None:
        """Label versions by number."""
        self.values = list(values)
        self.labels = labels or {}

    def number(self, version: Any, label: str | None) -> int | None:
        """Return the number of a version, stage or label, or of the newest, or None."""
        number = len(self.values)
        stages = {"AWSCURRENT": number, "AWSPREVIOUS": number - 1, **self.labels}
        if label is not None:
            number = stages.get(label, 0)
        if version is not None:
            number = int(version) if str(version).isdecimal() else 0
        return number if 0 < number <= len(self.values) else None


class Aws:
    """An account with secrets, parameters and configurations, some of them denied."""

    def __init__(self) -> None:
        """Fill the account."""
        self.secrets: dict[str, Versions] = {
            "text": Versions("  as it is\n"),
            "json": Versions(
                '{"user": "ü", "port": 0, "nested": {"keys": ["a", "b"]}, "none": null}'
            ),
            "binary": Versions(BYTES),
            "base64": Versions("AAEC/w=="),
            "large": Versions(LARGE),
            "rotated": Versions("one", "two"),
            "turning": Versions("first"),
            ODD: Versions("odd"),
            **{f"many/{n:02}": Versions(f"value {n}") for n in range(30)},
        }
        self.parameters: dict[str, Versions] = {
            "/text": Versions("text"),
            "/json": Versions('{"port": 0}'),
            "plain": Versions("plain"),
            "/rotated": Versions("one", "two", "three", labels={"live": 2}),
            "/tree/a": Versions("1"),
            "/tree/deep/b": Versions("2"),
            "/treetop": Versions("no part of it"),
            **{f"/many/{n:02}": Versions(f"value {n}") for n in range(13)},
        }
        self.lists: dict[str, list[str]] = {"/list": ["a", "b", "c"]}
        self.configurations: dict[str, bytes] = {
            "shop/prod/flags": FLAGS.encode(),
        }
        self.denied = {"denied", "/denied"}

    def rotate(self, name: str, value: str) -> None:
        """Give a secret a new version."""
        self.secrets[name].values.append(value)

    def secret(
        self, name: str, version_id: str | None, stage: str | None
    ) -> tuple[Any, int] | None:
        """Return value and number of a version; None where there is none."""
        return _found(self.secrets, name, version_id, stage)

    def parameter(
        self, name: str, version: str | None, label: str | None
    ) -> tuple[Any, int] | None:
        """Return value and number of a version; None where there is none."""
        if name in self.lists:
            return self.lists[name], 1
        return _found(self.parameters, name, version, label)


def _found(
    table: dict[str, Versions], name: str, version: str | None, label: str | None
) -> tuple[Any, int] | None:
    if name not in table:
        return None
    number = table[name].number(version, label)
    return None if number is None else (table[name].values[number - 1], number)

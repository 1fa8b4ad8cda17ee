"""Reads a secrets file in this process: once, since it may be a pipe, and by name or ARN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_secrets.backends import Answer
from lambda_secrets.backends._decode import parameter_answer, text_of
from lambda_secrets.backends._local import SCHEMES, not_found
from lambda_secrets.cli.emulator.records import Refused

if TYPE_CHECKING:
    from lambda_secrets._sources import Source
    from lambda_secrets.backends import Value
    from lambda_secrets.backends._types import Answers, Result, Sources
    from lambda_secrets.cli.emulator.local import LocalValues


class FileReader:
    """A backend that answers with the values of a file as AWS would, versions included."""

    name = "file"

    def __init__(self, values: LocalValues) -> None:
        self._values = values

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Look the sources up; nothing is cached here."""
        answers = {source: self._answer(source) for source in sources}
        for answer in answers.values():
            answer.backend = self.name  # behind "auto" it is asked as boto3 is
        return answers

    def _answer(self, source: Source) -> Result:
        try:
            value = self._value(source)
        except Refused:
            return not_found(source)
        return not_found(source) if value == {} else Answer(value)

    def _value(self, source: Source) -> Value:
        values = self._values
        if source.kind == "secret":
            secret = values.secret(source.name, source.version_id, source.version_stage)
            return secret.binary if secret.text is None else secret.text  # type: ignore[return-value]  # it has one
        if source.kind == "parameter":
            selector = source.version or source.label
            return self._parameter(f"{source.name}:{selector}" if selector else source.name, source)
        if source.kind == "tree":
            path = SCHEMES["parameters"] + source.name
            below = [name.removeprefix(path) for name in values.targets() if name.startswith(path)]
            return {
                rest: self._parameter(source.name + rest, source)
                for rest in below
                if source.recursive or "/" not in rest
            }
        return text_of(values.configuration(*source.parts).content)

    def _parameter(self, name: str, source: Source) -> Value:
        found = self._values.parameter(name, decrypt=source.decrypt)
        answer = parameter_answer({"Type": found.type, "Value": found.value})
        return answer.value  # type: ignore[union-attr]  # it has one

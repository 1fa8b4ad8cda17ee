"""A secret in rotation and the database that it opens, in the steps of AWS's rotation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambda_secrets import AccessDeniedError, Answer, SecretNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambda_secrets import Source


class LoginFailed(Exception):  # noqa: N818 - as a driver's error is called
    """Raised by the database for a wrong password."""


class Rotating:
    """A backend with one secret in rotation, whose database accepts one password at a time."""

    name = "rotating"

    def __init__(self, **fields: Any) -> None:
        """Start before a rotation, with these fields in addition to user and password."""
        self.document: dict[str, Any] = {"user": "u", "password": "old", **fields}
        self.stages: dict[str | None, Any] = {None: self.document}
        self.accepted = "old"
        self.logins: list[str] = []
        self.asked: list[tuple[str | None, bool]] = []

    def create(self, password: str = "new", **fields: Any) -> None:
        """Step 1: AWSPENDING exists."""
        self.stages["AWSPENDING"] = {**self.stages[None], "password": password, **fields}

    def set(self) -> None:
        """Step 2: the database accepts only the pending password."""
        self.accepted = self.stages["AWSPENDING"]["password"]

    def finish(self) -> None:
        """Step 4: the pending version becomes AWSCURRENT."""
        self.stages[None] = self.stages["AWSPENDING"]

    def rotate(self, password: str) -> None:
        """All steps at once."""
        self.create(password)
        self.set()
        self.finish()

    def login(self, password: str) -> str:
        """Log in if the password is the accepted one."""
        self.logins.append(password)
        if password != self.accepted:
            raise LoginFailed(f"login {len(self.logins)}")
        return f"in with {password}"

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> dict[Source, Any]:
        """Answer with the version of the requested stage."""
        answers: dict[Source, Any] = {}
        for source in sources:
            self.asked.append((source.version_stage, fresh))
            found = self.stages.get(source.version_stage, SecretNotFoundError("no such version."))
            if isinstance(found, (AccessDeniedError, SecretNotFoundError)):
                answers[source] = found
            else:
                text = found if isinstance(found, str) else json.dumps(found)
                answers[source] = Answer(text)
        return answers

    @property
    def forced(self) -> list[str | None]:
        """The stages that were read past all caches."""
        return [stage for stage, fresh in self.asked if fresh]


class Pool:
    """A connection pool that fails if it is used or closed again after it was closed."""

    made: list[Pool]

    def __init__(self, database: Rotating, password: str, *, eager: bool = True) -> None:
        """Connect at once, or at the first query."""
        self.database = database
        self.password = password
        self.closed = False
        if eager:
            database.login(password)

    def query(self) -> str:
        """Log in again, as a pool that has lost its connections does."""
        assert not self.closed, "used after it was closed"
        return self.database.login(self.password)

    def close(self) -> None:
        """Close it."""
        assert not self.closed, "closed twice"
        self.closed = True

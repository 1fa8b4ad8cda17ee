"""Each backend in front of the same account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract import subjects
from tests.contract.aws import Aws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.contract.subjects import Subject
    from tests.support.moto_server import MotoServer

NAMES = (
    "extension",
    "agent",
    "aws",
    "aws-batch",
    "aws-plain",
    "sdk",
    "sdk-batch",
    "auto-extension",
    "auto-agent",
    "auto-alone",
    "memory",
    "file-toml",
    "file-json",
    "own",
)


@pytest.fixture(scope="module")
def aws() -> Aws:
    """Return the account."""
    return Aws()


@pytest.fixture(scope="module")
def moto(aws: Aws, moto_process: MotoServer) -> Iterator[tuple[MotoServer, dict[int, str]]]:
    """Put the account into moto; return moto and the version ids of one secret."""
    moto_process.reset()
    yield moto_process, subjects.put_into(moto_process, aws)
    moto_process.reset()


@pytest.fixture(scope="module", params=NAMES)
def subject(
    request: pytest.FixtureRequest, aws: Aws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    """Put each backend in turn in front of the account."""
    kind, _, option = request.param.partition("-")
    folder = tmp_path_factory.mktemp("subject")
    made: AbstractContextManager[Subject]
    if kind == "sdk":
        made = subjects.through_sdk(aws, *request.getfixturevalue("moto"), batch=option == "batch")
    elif kind == "aws":
        made = subjects.direct(
            aws,
            request.getfixturevalue("moto"),
            folder,
            tls=option != "plain",
            batch=option == "batch",
        )
    elif kind == "auto":
        made = subjects.auto(
            aws,
            *request.getfixturevalue("moto"),
            listens=option != "alone",
            is_agent=option == "agent",
        )
    elif kind == "file":
        made = subjects.file(aws, folder, option)
    elif kind == "own":
        made = subjects.own(aws, folder)
    else:
        made = getattr(subjects, kind)(aws)
    with made as it:
        yield it

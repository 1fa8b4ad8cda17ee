"""Log records of our calls that may show a value are filtered out, and nothing else is."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from lambda_secrets.backends._sdk import of_our_calls, silence

if TYPE_CHECKING:
    import pytest

    from tests.support.kept import Kept


def test_warnings_of_our_calls_are_logged(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """During our calls DEBUG records are dropped and INFO is logged; afterwards all are logged."""
    logger = logging.getLogger("botocore.parsers")
    silence()
    with monkeypatch.context() as calling:
        calling.setattr(of_our_calls, "filtered", True, raising=False)
        logger.debug("hunter2")
        logger.info("told")
    logger.debug("not ours")
    assert kept.lines == ["INFO botocore.parsers told", "DEBUG botocore.parsers not ours"]


def test_warnings_of_urllib3_are_kept_out_too(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib3's warnings may quote a malformed header: ours are dropped, others' are logged."""
    logger = logging.getLogger("urllib3.connection")
    silence()
    with monkeypatch.context() as calling:
        calling.setattr(of_our_calls, "filtered", True, raising=False)
        logger.warning("Failed to parse headers: hunter2")
    logger.warning("not ours")
    assert kept.lines == ["WARNING urllib3.connection not ours"]


LOGGERS = """
import logging, pathlib, re
import boto3, botocore, urllib3
for package in (botocore, urllib3):
    folder = pathlib.Path(package.__file__).parent
    for path in folder.rglob("*.py"):
        name = ".".join((package.__name__, *path.relative_to(folder).with_suffix("").parts))
        name = name.removesuffix(".__init__")
        has_one = re.search(r"(?m)^\\w+ = logging.getLogger", path.read_text("utf-8"))
        if has_one and name not in logging.root.manager.loggerDict:
            print(name)
"""


def test_importing_boto3_makes_every_logger_of_a_read() -> None:
    """The loggers filtered before the first client are all that there will be."""
    command = [sys.executable, "-c", LOGGERS]
    late = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    unused = ("botocore.docs.", "urllib3.contrib.", "urllib3.http2.")  # pyOpenSSL, browsers
    assert [name for name in late if not name.startswith(unused)] == []

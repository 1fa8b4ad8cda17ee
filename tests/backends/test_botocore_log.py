"""Log records of our calls that may show a value are filtered out, and nothing else is."""

from __future__ import annotations

import logging
import zipfile
from typing import TYPE_CHECKING

import botocore
import urllib3

from lambda_secrets.backends._sdk import _modules, quiet, silence

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kept import Kept


def test_warnings_of_our_calls_are_logged(kept: Kept) -> None:
    """During our calls DEBUG records are dropped and INFO is logged; afterwards all are logged."""
    silence()
    with quiet():
        logging.getLogger("botocore.parsers").debug("hunter2")
        logging.getLogger("botocore.parsers").info("told")
    logging.getLogger("botocore.parsers").debug("not ours")
    assert kept.lines == ["INFO botocore.parsers told", "DEBUG botocore.parsers not ours"]


def test_loggers_that_do_not_exist_yet_are_filtered(kept: Kept) -> None:
    """A botocore module that is imported late is silenced too."""
    silence()
    with quiet():
        for name in ("botocore", "botocore.retries.adaptive", "urllib3.util.retry"):
            logging.getLogger(name).debug("hunter2")
    assert kept.lines == []


def test_warnings_of_urllib3_are_kept_out_too(kept: Kept) -> None:
    """urllib3's warnings may quote a malformed header: ours are dropped, others' are logged."""
    silence()
    logger = logging.getLogger("urllib3.connection")
    with quiet():
        logger.warning("Failed to parse headers: hunter2")
    logger.warning("not ours")
    assert kept.lines == ["WARNING urllib3.connection not ours"]


def test_every_module_is_named() -> None:
    """Every module is named, imported or not, in subpackages too; data folders are not."""
    named = set(_modules("botocore", list(botocore.__path__)))
    assert named >= {"botocore", "botocore.parsers", "botocore.docs", "botocore.docs.bcdoc.style"}
    assert not any(name.startswith("botocore.data") for name in named)
    assert "urllib3.contrib.socks" in set(_modules("urllib3", list(urllib3.__path__)))


def test_modules_in_a_zip_are_named(tmp_path: Path) -> None:
    """The modules of a package imported from a zip are named too."""
    path = tmp_path / "packages.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("__init__", "parsers"):
            archive.writestr(f"zipped/{name}.py", "")
    assert set(_modules("zipped", [f"{path}/zipped"])) == {"zipped", "zipped.parsers"}

"""Makes a session of botocore that finds what a client is made from in half the time.

botocore lists the folders of all its four hundred services twice before it makes a client, and
reads a megabyte of endpoints into ordered dicts. A session takes another loader:
https://docs.aws.amazon.com/botocore/latest/reference/loaders.html.
"""

from __future__ import annotations

import json
import os

from botocore.loaders import JSONFileLoader, Loader, create_loader
from botocore.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class _Files(JSONFileLoader):  # type: ignore[misc]  # untyped upstream
    """Reads into plain dicts, which are in order too."""

    def load_file(self, file_path: str) -> Any:
        try:
            with open(f"{file_path}.json", "rb") as file:  # noqa: PTH123 - pathlib costs its import
                return json.load(file)
        except FileNotFoundError:
            return super().load_file(file_path)  # it may be compressed, or not there


class _Loader(Loader):  # type: ignore[misc]
    """Knows the services by name: the folder of one tells if it is not there."""

    def list_available_services(self, type_name: str) -> list[str]:
        return ["appconfigdata", "secretsmanager", "ssm"]


def own_session() -> Session:
    """Return a new session, in the function's region and with its role's credentials."""
    session = Session()
    region = os.environ.get("AWS_REGION")  # which every function has, and botocore does not read
    if region:
        session.set_config_variable("region", region)
    if all(map(os.environ.get, _KEYS)) and "AWS_CREDENTIAL_EXPIRATION" not in os.environ:
        # The first place that botocore looks at: it would make ready for all the others too.
        session.set_credentials(*map(os.environ.get, _KEYS))
    usual = create_loader(session.get_config_variable("data_path"))
    loader = _Loader(list(usual.search_paths), _Files(), include_default_search_paths=False)
    session.register_component("data_loader", loader)
    return session

"""AppConfig's data plane over HTTP: REST, where the other services have JSON.

https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_Operations_AWS_AppConfig_Data.html
"""

from __future__ import annotations

import json

from .._values import opaque
from ._extension import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._calls import Call
    from ._http import Reply
    from ._types import Hidden


def http_of(call: Call) -> tuple[str, str, bytes, dict[str, str]]:
    """Return method, path with query, body and more headers of a call."""
    if call.operation == "StartConfigurationSession":
        body = json.dumps(call.arguments).encode()
        return "POST", "/configurationsessions", body, {"content-type": "application/json"}
    token = encoded(call.arguments["ConfigurationToken"])
    return "GET", f"/configuration?configuration_token={token}", b"", {}


def document_in(reply: Reply) -> Hidden:
    """Return the answer of GetLatestConfiguration as the SDK would have it, hidden."""
    interval = reply.headers.get("next-poll-interval-in-seconds", "")
    return opaque(
        {
            "Configuration": reply.body,
            "NextPollConfigurationToken": reply.headers.get("next-poll-configuration-token"),
            "NextPollIntervalInSeconds": int(interval) if interval.isdecimal() else 0,
            "VersionLabel": reply.headers.get("version-label"),
        }
    )

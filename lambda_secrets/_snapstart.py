"""Keeps secrets out of SnapStart's snapshots: all are dropped before one and after a restore."""

from __future__ import annotations

import functools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._cache import Cache


@functools.cache
def keep_out_of_snapshots(cache: Cache) -> None:
    """Register the hooks of the managed runtime, once for a cache.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    import snapshot_restore_py  # in every managed runtime that has SnapStart

    snapshot_restore_py.register_before_snapshot(cache.release)
    snapshot_restore_py.register_after_restore(cache.release)

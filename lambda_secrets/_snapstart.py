"""Keeps secrets out of SnapStart's snapshots: all are dropped before one and after a restore."""

from __future__ import annotations

from ._maintenance import release
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._store import Store


def keep_out_of_snapshots(cache: Store) -> None:
    """Register the hooks of the managed runtime, once for a cache.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html

    Raises:
        DeclarationError: where the runtime's package is missing: secrets would be in the snapshot.
    """
    if cache.has_hooks:
        return
    try:
        import snapshot_restore_py  # in every managed runtime that has SnapStart
    except ImportError:
        hooks = None
    else:
        hooks = snapshot_restore_py
    if hooks is None:
        raise DeclarationError(
            "SnapStart is on, but the package snapshot_restore_py is missing, which keeps secrets "
            "out of the snapshot. Install snapshot-restore-py in the image."
        )
    cache.has_hooks = True
    hooks.register_before_snapshot(release, cache)
    hooks.register_after_restore(release, cache)

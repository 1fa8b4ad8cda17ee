"""Names for annotations; in their own module, so that no cold start compiles them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Instant: TypeAlias = tuple[float, float]
"""Seconds by the monotonic and by the wall clock."""
Kind: TypeAlias = Literal["secret", "parameter", "tree", "appconfig", "env"]
Mode: TypeAlias = Literal["usual", "fresh", "prefetch"]
Opaque: TypeAlias = Callable[[int], Any]
"""Returns its value when called with 0."""
Steps: TypeAlias = Generator[Callable[[], Any], Any, T]
"""Yields blocking calls, as callables; returns a result."""

"""Names for annotations; apart, so that no cold start compiles them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Function: TypeAlias = Callable[..., Any]
Instant: TypeAlias = tuple[float, float]
"""What the monotonic and the wall clock said."""
Kind: TypeAlias = Literal["secret", "parameter", "tree", "appconfig", "env"]
Mode: TypeAlias = Literal["usual", "fresh", "prefetch"]
Opaque: TypeAlias = Callable[[int], Any]
"""Gives a value back for 0."""
Steps: TypeAlias = Generator[Callable[[], Any], Any, T]
"""Yields what blocks, as callables; returns a result."""

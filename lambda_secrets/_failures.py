"""Builds the errors of what could not be resolved: one for each name, and one for them all."""

from __future__ import annotations

from ._declarations import Unfit
from .errors import ResolutionError, SecretValueError, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._declarations import Declaration


def failure(
    name: str, declaration: Declaration, problem: Unfit | ResolutionError, backend: str
) -> ResolutionError:
    """Return the error of one declared name: what, why and what to do."""
    if isinstance(problem, Unfit):
        kind: type[ResolutionError] = SecretValueError
        reason = f"{problem.reason}. Correct the secret, or what is declared of it."
    else:
        kind = kind_of(problem)
        reason = str(problem)
    return kind(
        f"Cannot resolve {name!r} ({declaration}) through {backend}: {reason}",
        name=name,
        source=str(declaration),
        backend=backend,
    )


def gathered(failures: dict[str, ResolutionError]) -> ResolutionError:
    """Return one error for all failures: of their class where they share it."""
    leaves = list(failures.values())
    kinds = {type(leaf) for leaf in leaves}
    kind = kinds.pop() if len(kinds) == 1 else ResolutionError
    if len(leaves) == 1:
        (leaf,) = leaves
        return kind(
            str(leaf), name=leaf.name, source=leaf.source, backend=leaf.backend, failures=failures
        )
    lines = "".join(f"\n- {leaf}" for leaf in leaves)
    return kind(f"Cannot resolve {len(leaves)} secrets:{lines}", failures=failures)

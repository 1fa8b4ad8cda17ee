"""Shows the figures: plots under docs/figures/, and tables in the documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from benchmarks.figures import digest, filled
from benchmarks.fleet import QUOTAS
from benchmarks.machine import BARE

mpl.use("svg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    Draw = Callable[[Axes, dict[str, Any]], None]

DOCS = Path(__file__).parent.parent / "docs"
PLOTS = DOCS / "figures"
PAGES = (DOCS.parent / "README.md", DOCS / "figures.md", DOCS / "redaction.md")
OURS, THEIRS = "#1b7f5c", "#9aa5b1"
mpl.rcParams |= {
    "svg.hashsalt": "lambda_secrets",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def publish(results: dict[str, Any]) -> None:
    """Draw every plot, and put every table in its place in the document."""
    PLOTS.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        if name in results:
            figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
            draw(axes, results[name])
            source = f"benchmarks/results.json {digest(results[name])}"
            metadata = {"Date": None, "Creator": None, "Source": source}
            figure.savefig(PLOTS / f"{name}.svg", metadata=metadata)
            plt.close(figure)
    for page in PAGES:
        page.write_text(filled(page.read_text("utf-8"), results), "utf-8")


def colour(name: str) -> str:
    """Return the colour of a contestant."""
    return OURS if name.startswith("ours") else THEIRS


def bars(axes: Axes, values: dict[str, float], label: str) -> None:
    """Draw a bar per contestant, the first on top, with its figure."""
    names = list(values)[::-1]
    drawn = axes.barh(names, [values[name] for name in names], color=[*map(colour, names)])
    axes.bar_label(drawn, fmt="{:.3g}", padding=3)
    axes.set_xlabel(label)
    axes.margins(x=0.12)


def cold(axes: Axes, figures: dict[str, Any]) -> None:
    """Draw the milliseconds that each adds to a cold start, without bytecode and with it."""
    for table, offset, alpha in (("zip", 0.2, 1.0), ("bytecode", -0.2, 0.45)):
        rows = figures["tables"][table][:0:-1]
        drawn = axes.barh(
            [place + offset for place in range(len(rows))],
            [float(row[2]) for row in rows],
            height=0.38,
            color=[colour(row[0]) for row in rows],
            alpha=alpha,
        )
        axes.bar_label(drawn, fmt="{:.3g}", padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_xlabel("ms of a cold start; dark: from a zip without bytecode")
    axes.margins(x=0.12)


def memory(axes: Axes, figures: dict[str, Any]) -> None:
    """Draw the megabytes that each adds."""
    values = {row[0]: float(row[2]) for row in figures["tables"][""][1:] if row[0] != BARE}
    bars(axes, values, "MB at the peak, above the bare handler")


def fanout(axes: Axes, figures: dict[str, Any]) -> None:
    """Draw the milliseconds of twenty secrets."""
    values = {row[0]: float(row[1]) for row in figures["tables"][""][1:]}
    bars(axes, values, "ms for 20 secrets at a service of 20 ms")


def warm(axes: Axes, figures: dict[str, Any]) -> None:
    """Draw the microseconds that each adds with twenty secrets."""
    rows = [row for row in figures["tables"][""][1:] if "one " not in row[0]]
    bars(axes, {row[0]: float(row[3]) for row in rows}, "")
    axes.set(xscale="log", xlabel="µs of a warm call with 20 secrets, above the bare handler")


def tail(axes: Axes, figures: dict[str, Any]) -> None:
    """Draw latency over percentiles."""
    for name, curve in figures["curves"].items():
        beyond, seconds = zip(*curve, strict=True)
        axes.plot(
            beyond,
            [1000 * value for value in seconds],
            label=name,
            color=colour(name),
            linestyle="-" if "ahead" in name else "--" if name.startswith("ours") else ":",
        )
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms of an invocation")
    axes.set_xticks([1, 10, 100, 1000], ["0", "90", "99", "99.9"])
    axes.legend(frameon=False)


def fleet(axes: Axes, figures: dict[str, Any]) -> None:
    """Draw calls a second over the size of a fleet, and the quotas."""
    sizes = figures["sizes"]
    styles = {"single": "-", "extension": "--", "batch": ":"}
    for path, loads in figures["loads"].items():
        axes.plot(
            sizes,
            [load["peak"] for load in loads],
            styles[path],
            color=OURS,
            label=path,
            marker="o",
            markersize=3,
        )
    for quota, operation in {
        QUOTAS["single"]: "GetSecretValue",
        QUOTAS["batch"]: "BatchGetSecretValue",
    }.items():
        axes.axhline(quota, color="#b3403a", linewidth=0.8)
        axes.annotate(
            f"quota of {operation}",
            (sizes[0], quota),
            xytext=(0, 3),
            textcoords="offset points",
            color="#b3403a",
        )
    axes.set(
        xscale="log", yscale="log", xlabel="environments", ylabel="calls in the busiest second"
    )
    axes.legend(frameon=False)


DRAWN: dict[str, Draw] = {
    "cold": cold,
    "warm": warm,
    "fanout": fanout,
    "tail": tail,
    "fleet": fleet,
    "memory": memory,
}

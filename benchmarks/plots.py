"""The plots of growth, as PNG."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.growth import Series


def plot(path: Path, series: Series, x: str, y: str, title: str) -> None:
    """A plot of some lines, both axes logarithmic; `x` and `y` label the axes."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)

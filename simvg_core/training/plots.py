"""Drawings of an evaluation, as SVG text for a page."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, GREEN, ORANGE, GREY = "#2563a8", "#2f8f5b", "#d97706", "#8a94a3"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "simvg",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e9ef",
}


def precision_bars(groups: Mapping[str, Mapping[str, Any]], label: str) -> str | None:
    """P@0.5 of each group with its 95 % interval and its count; None where no group has a single target."""
    kept = {name: group for name, group in groups.items() if group["single_target"]}
    if not kept:
        return None
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(4.6, 2.9)
        places = range(len(kept))
        values = [group["p_at_05"] for group in kept.values()]
        intervals = [interval(group["p_at_05"], group["single_target"]) for group in kept.values()]
        below = [value - low for value, (low, _) in zip(values, intervals, strict=True)]
        above = [high - value for value, (_, high) in zip(values, intervals, strict=True)]
        axes.bar(places, values, color=BLUE, width=0.68)
        axes.errorbar(places, values, yerr=[below, above], fmt="none", ecolor="#12304f", capsize=3, linewidth=1)
        for place, group, (_, high) in zip(places, kept.values(), intervals, strict=True):
            axes.text(place, high + 2, f"n={group['single_target']}", ha="center", fontsize=7, color="#55606e")
        axes.set_xticks(list(places), list(kept))
        axes.set_ylim(0, 112)
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylabel("P@0.5, %")
        axes.set_xlabel(label)
        axes.grid(False, axis="x")
        return _svg(figure)


def kind_bars(groups: Mapping[str, Mapping[str, Any]]) -> str | None:
    """By kind of query: P@0.5, exact answers with a target, and N-acc; None without any."""
    series = (
        ("P@0.5", "p_at_05", BLUE),
        ("Pr(F1=1), with a target", "pr_f1_with_target", GREEN),
        ("N-acc", "n_acc", ORANGE),
    )
    if not groups:
        return None
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(9.6, 0.9 + 0.5 * len(groups))
        names = list(groups)[::-1]
        for number, (label, key, color) in enumerate(series):
            places = [place + 0.26 * (1 - number) for place in range(len(names))]
            values = [groups[name][key] for name in names]
            axes.barh(places, [value or 0.0 for value in values], height=0.24, color=color, label=label)
            for place, value in zip(places, values, strict=True):
                text = "–" if value is None else f"{value:.0f}"
                axes.text((value or 0.0) + 0.7, place, text, va="center", fontsize=7, color="#55606e")
        axes.set_yticks(range(len(names)), [f"{name} ({groups[name]['questions']})" for name in names])
        axes.set_xlim(0, 105)
        axes.set_xlabel("%")
        axes.grid(False, axis="y")
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        return _svg(figure)


WITH_OR_WITHOUT = (("without_target", "without a target", ORANGE), ("with_target", "with a target", BLUE))
"""What a set with absent things tells apart by the score: keys of the histogram, labels, colours."""
RIGHT_OR_WRONG = (("wrong", "wrong answers", ORANGE), ("right", "right answers", BLUE))
"""And one whose every question has its answer."""


def score_histogram(
    histogram: Mapping[str, Sequence[float]],
    threshold: float,
    series: Sequence[tuple[str, str, str]] = WITH_OR_WITHOUT,
) -> str:
    """Shares of the scores of two kinds of questions, and the threshold."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(4.6, 2.9)
        edges = histogram["edges"]
        for key, label, color in series:
            counts, total = histogram[key], sum(histogram[key])
            shares = [100 * count / total if total else 0.0 for count in counts]
            axes.stairs(shares, list(edges), fill=True, alpha=0.45, color=color, label=f"{label} ({total})")
        axes.axvline(threshold, color="#12304f", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
        axes.set_xlim(0, 1)
        axes.set_xlabel("score")
        axes.set_ylabel("share of its questions, %")
        axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def reliability_diagram(bins: Sequence[Sequence[float]], share: str = "share with a target") -> str:
    """How often a question with a score has a target (or what else `share` says), against the score; the dots grow with
    the count."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(4.6, 2.9)
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="honest")
        most = max((count for _, _, count in bins), default=1)
        said, true = [said for said, _, _ in bins], [true for _, true, _ in bins]
        axes.plot(said, true, color=BLUE, linewidth=1.2, label="this model")
        axes.scatter(said, true, s=[8 + 70 * count / most for _, _, count in bins], color=BLUE, alpha=0.7)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("mean score")
        axes.set_ylabel(share)
        axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def interval(percent: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share in percent over `count` > 0 trials, in percent."""
    z, share = 1.96, percent / 100
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # rounding must carry the interval neither past its own share nor out of 0 … 100
    return max(0.0, min(percent, 100 * (centre - reach))), min(100.0, max(percent, 100 * (centre + reach)))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    """From the <svg> tag on, without the XML prologue, which is no HTML."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]

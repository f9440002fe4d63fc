"""An evaluation as a person reads it: tables in a terminal, and one page that needs nothing beside itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table as RichTable

from simvg_core.errors import ConfigurationError
from simvg_core.training import plots
from simvg_core.training.evaluate import Evaluation
from simvg_core.training.tables import Table, cost, groups, overview, short
from simvg_core.training.worst import worst

RECORD, PAGE = "report.json", "report.html"


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Writes FOLDER/report.json and FOLDER/report.html; returns the page.

    Raises ConfigurationError: they cannot be written, such as on a full disk.
    """
    text = json.dumps(evaluation.record, indent=1, allow_nan=False, ensure_ascii=False)
    told = html(evaluation)
    page = folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")
        page.write_text(told, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or folder} cannot be written ({error.strerror}); make room on its disk, or name another "
            "folder with --out."
        ) from error
    return page


def html(evaluation: Evaluation) -> str:
    """The page: scores, plots, tables and the worst answers, with pictures and drawings inside."""
    record = evaluation.record
    loader = Environment(
        loader=PackageLoader("simvg_core.training"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return loader.get_template("report.html").render(
        record=record,
        overview=overview(record),
        cost=cost(record),
        parts=[_part(evaluation, branch) for branch in record["branches"]],
    )


def _part(evaluation: Evaluation, branch: str) -> dict[str, Any]:
    """What the page shows of one branch."""
    record, scores = evaluation.record, evaluation.scores(branch)
    drawn = [
        ("Precision by length of the expression", plots.precision_bars(scores["by_words"], "words")),
        ("Precision by size of the box", plots.precision_bars(scores["by_size"], "box, % of the image")),
    ]
    if record["task"] == "grec":
        drawn += [
            ("Scores", plots.score_histogram(scores["histogram"], record["threshold"])),
            ("Reliability", plots.reliability_diagram(scores["reliability"])),
        ]
    else:
        histogram, bins = scores["histogram"], scores["reliability_right"]
        drawn += [
            ("Scores", plots.score_histogram(histogram, record["threshold"], plots.RIGHT_OR_WRONG)),
            ("Reliability", plots.reliability_diagram(bins, "share of right answers")),
        ]
    by_kind = scores["by_kind"]
    return {
        "name": branch,
        "kinds": plots.kind_bars(by_kind) if len(by_kind) > 1 else None,
        "plots": [(title, drawing) for title, drawing in drawn if drawing is not None],
        "tables": list(groups(record, branch)),
        "worst": worst(evaluation.outcomes[branch], record["threshold"], record["task"]),
    }


def print_report(record: dict[str, Any], console: Console) -> None:
    """The main tables, one below the other."""
    split = "" if record["split"] == "all" else f", split {record['split']}"
    console.print(
        f"{record['model']} on {record['data']}{split}: {record['images']} images, "
        f"{record['expressions']} expressions, threshold {record['threshold']:g}, {record['seconds']:.0f} s",
        highlight=False,
    )
    if record["alternatives"]:
        console.print(f"any of several boxes is right: {record['alternatives']} expressions", highlight=False)
    for reason, count in record["left_out"].items():
        console.print(f"left out: {count} × {reason}", highlight=False, style="yellow")
    for heading, own in short(record):
        if heading:
            console.rule(heading)
        for table in own:
            console.print()
            console.print(_rich(table))


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for place, head in enumerate(table.narrow):
        if place:
            shown.add_column(head, justify="right", no_wrap=True)
        else:
            shown.add_column(head, overflow="fold", min_width=12)
    for row in table.rows:
        shown.add_row(*row)
    return shown

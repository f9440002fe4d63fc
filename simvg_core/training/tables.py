"""An evaluation's scores as tables: for a terminal, for Markdown, for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# (key, head, head in a terminal of 80 columns)
_SCORES = (
    ("questions", "questions", "asked"),
    ("p_at_05", "P@0.5", "P@0.5"),
    ("mean_iou", "mean IoU", "mean\nIoU"),
    ("pr_f1", "Pr(F1=1)", "Pr\nF1=1"),
    ("pr_f1_with_target", "with target", "with\ntarget"),
    ("n_acc", "N-acc", "N-acc"),
    ("t_acc", "T-acc", "T-acc"),
    ("auc", "AUC", "AUC"),
    ("auc_lures", "AUC look-alikes", "look-\nalikes"),
    ("ece", "ECE", "ECE"),
)
# A referring set always has its one target, so that only the best box is asked for.
_REFERRING = ("questions", "p_at_05", "mean_iou")


@dataclass(frozen=True)
class Table:
    """Heads and rows of text; the first column names the row. `narrow` are heads for a terminal."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    narrow: tuple[str, ...]

    def markdown(self) -> str:
        """A Markdown table, without its title."""
        lines = [f"| {' | '.join(self.heads)} |", f"| --- |{' ---: |' * (len(self.heads) - 1)}"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join(lines) + "\n"


def overview(record: Mapping[str, Any]) -> Table:
    """One row for each branch, and the baselines "always none" and "the whole image" on the same questions."""
    rows = {f"{branch} branch": scores["all"] for branch, scores in record["branches"].items()}
    any_branch = next(iter(rows.values()))
    rows["always none"] = _baseline(any_branch, found=False)
    rows["the whole image"] = _baseline(any_branch, found=True)
    return _scores("Scores", rows, record["task"])


def _baseline(scores: Mapping[str, Any], found: bool) -> dict[str, Any]:
    """Never a box, or always the whole image."""
    some, none = scores["with_target"] > 0, scores["questions"] > scores["with_target"]
    values: dict[str, Any] = {
        "questions": scores["questions"],
        "n_acc": (0.0 if found else 100.0) if none else None,
        "t_acc": (100.0 if found else 0.0) if some else None,
    }
    if found:
        return {**values, "p_at_05": scores["p_at_05_whole"]}
    p_at_05 = 0.0 if scores["single_target"] else None
    return {
        **values,
        "p_at_05": p_at_05,
        "mean_iou": p_at_05,
        "pr_f1": scores["pr_f1_always_none"],
        "pr_f1_with_target": 0.0 if some else None,
    }


_GROUPS = (
    ("Per image, for texts asked of many", "texts"),
    ("By kind of query", "by_kind"),
    ("By what a question says of a thing", "by_attribute"),
    ("By whether all words are known", "by_known"),
    ("By length, words", "by_words"),
    ("By size of the box, % of the image", "by_size"),
    ("By noun", "by_noun"),
)


def groups(record: Mapping[str, Any], branch: str, most: int = len(_GROUPS)) -> Iterator[Table]:
    """Scores of one branch by text, kind, length, size and noun, or the first `most` of these; none without a row."""
    scores = record["branches"][branch]
    for title, key in _GROUPS[:most]:
        if scores.get(key):
            yield _scores(title, scores[key], record["task"])


def cost(record: Mapping[str, Any]) -> Table | None:
    """Operations and time of each pass; None where they were not measured."""
    if record["cost"] is None:
        return None
    measured = record["cost"]
    rows = tuple(
        (name, f"{row['gflops']:.3g}", f"{row['milliseconds']:.2f}", _text(row["per_second"], 1))
        for name, row in measured["passes"].items()
    )
    millions = measured["parameters"]["total"] / 1e6
    device = f"{measured['device']}, {measured['threads']} threads, {record['precision']}"
    title = f"Cost: {millions:.1f} million parameters; {device}"
    heads = ("pass", "GFLOPs", "ms", "per second")
    return Table(title, heads, rows, heads)


def _scores(title: str, rows: Mapping[str, Mapping[str, Any]], task: str) -> Table:
    columns = [column for column in _SCORES if task == "grec" or column[0] in _REFERRING]
    cells = tuple((name, *(_cell(row.get(key), key) for key, _, _ in columns)) for name, row in rows.items())
    return Table(title, ("", *(head for _, head, _ in columns)), cells, ("", *(narrow for _, _, narrow in columns)))


def _cell(value: float | None, key: str) -> str:
    return _text(value, {"questions": 0, "auc": 3, "auc_lures": 3, "ece": 3}.get(key, 1))


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def short(record: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[Table]]]:
    """(heading, tables) that fit a terminal: one heading for each branch, without words, sizes and nouns."""
    branches = [(f"{branch} branch", list(groups(record, branch, most=2))) for branch in record["branches"]]
    found = cost(record)
    return [("", [overview(record)]), *branches, *([] if found is None else [("", [found])])]

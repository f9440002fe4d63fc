"""Evaluations on toy models, and their reports."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError, InputError
from simvg_core.execution import Execution
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training import plots
from simvg_core.training.cli import app
from simvg_core.training.cost import cost_of
from simvg_core.training.evaluate import Evaluation, evaluate, first_images, scores_of, standing_texts
from simvg_core.training.metrics import Outcome
from simvg_core.training.refused import UNKNOWN_WORDS
from simvg_core.training.rendered import RenderedSet
from simvg_core.training.report import html, print_report, write_report
from simvg_core.training.sets.open import open_set
from simvg_core.training.sets.sample import Sample
from simvg_core.training.tables import cost, overview
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.training.worst import PER_GROUP, worst
from simvg_core.words import FastPieces


def toy(attention: str = "standing", patches: str = "linear") -> tuple[SimVGForGrounding, SimVGProcessor]:
    """A small model of two branches with random weights and the line's words."""
    config = SimVGConfig.tiny(
        attention=attention, vocab_size=1024, tokenizer="fast", num_queries=2, patch_embedding=patches,
        stem_widths=(8, 8, 8, 8, 8),
    )  # fmt: skip
    return SimVGForGrounding(config), SimVGProcessor(config, FastPieces(build_tokenizer()))


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A grey picture of 80 × 60."""
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((60, 80, 3), 128, np.uint8))
    return str(path)


def said(text: str, score: float, truth: list[list[float]], image: str = "a", kind: str = "plain") -> Outcome:
    """One box at the upper left, said with a score."""
    return Outcome(
        text=text, image=image, boxes=np.array([[0, 0, 10, 10]], np.float32), scores=np.array([score], np.float32),
        score=score, truth=np.array(truth, np.float32).reshape(-1, 4), size=(80, 60), kind=kind, noun="bolt",
    )  # fmt: skip


HERE, ELSEWHERE = [[0.0, 0.0, 10.0, 10.0]], [[40.0, 40.0, 60.0, 60.0]]


def evaluation(outcomes: list[Outcome], task: str = "grec") -> Evaluation:
    """As `evaluate` makes it, of given answers."""
    record = {
        "model": "toy", "attention": "standing", "image_size": 96, "data": "some <set>", "split": "all", "task": task,
        "images": 1, "expressions": len(outcomes), "left_out": {"no words": 3}, "alternatives": 0, "threshold": 0.5,
        "precision": "float32", "when": "today", "seconds": 1.0, "branches": {"token": scores_of(outcomes, 0.5)},
        "cost": None,
    }  # fmt: skip
    return Evaluation(record, {"token": outcomes})


class _Page(HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_both_branches_are_scored_and_costed(drawn_set: Path) -> None:
    """The record is complete, and JSON."""
    model, processor = toy()
    record = evaluate(model, processor, RenderedSet(drawn_set), name="toy", limit=2).record
    assert record["images"] == 2 and record["expressions"] > 10
    assert list(record["branches"]) == ["token", "decoder"]
    for scores in record["branches"].values():
        assert scores["all"]["questions"] == record["expressions"]
        assert sum(group["questions"] for group in scores["by_kind"].values()) == record["expressions"]
        assert sum(group["questions"] for group in scores["by_words"].values()) == record["expressions"]
        assert sum(group["questions"] for group in scores["by_size"].values()) == scores["all"]["single_target"]
    assert record["cost"]["parameters"]["total"] == sum(parameter.numel() for parameter in model.parameters())
    assert json.loads(json.dumps(record)) == json.loads(json.dumps(record, allow_nan=False))


def test_a_set_of_which_nothing_can_be_asked_is_refused(drawn_set: Path) -> None:
    """Scores of nothing would pass for a result: the message says what was left out, and what to do."""
    model, processor = toy()

    class Punctuation(RenderedSet):
        def samples(self) -> list[Sample]:
            return [replace(sample, text="?!") for sample in super().samples()[:2]]

    wanted = r"no expression of .* can be asked \(left out: 2 text the model cannot read\); look at it with `simvg data"
    with pytest.raises(InputError, match=wanted):
        evaluate(model, processor, Punctuation(drawn_set))
    with pytest.raises(InputError, match="left out: none"):
        evaluate(model, processor, RenderedSet(drawn_set), limit=0)


def test_questions_about_broken_pictures_are_left_out_and_counted(worded_set: Path, tmp_path: Path) -> None:
    """One picture is missing, one cut off, one of another size than its boxes are for; the others are scored."""
    model, processor = toy()
    folder = shutil.copytree(worded_set, tmp_path / "mine")
    missing, cut, other, *_ = sorted((folder / "images").iterdir())
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-500])
    cv2.imwrite(str(other), np.zeros((60, 90, 3), np.uint8))
    record = evaluate(model, processor, open_set(folder), with_cost=False).record
    assert (record["images"], record["expressions"]) == (5, 20)
    assert record["left_out"] == {"image missing, broken or of another size": 12}


def test_the_first_images_keep_all_their_questions(drawn_set: Path) -> None:
    """A limit counts images, not questions."""
    samples = RenderedSet(drawn_set).samples()
    kept = first_images(samples, 3)
    assert {sample.image_id for sample in kept} == {"000000", "000001", "000002"}
    assert kept == [sample for sample in samples if sample.image_id <= "000002"]
    assert first_images(samples, None) is samples


def test_texts_asked_of_many_images_are_scored_per_image() -> None:
    """Ten images or more, with and without a target; others are not standing."""
    many = [said("missing bolt", 0.9 - 0.05 * n, HERE if n < 4 else [], image=str(n)) for n in range(12)]
    always = [said("plate", 0.9, HERE, image=str(n)) for n in range(12)]
    found = standing_texts([*many, *always, said("nut", 0.3, [])], 0.5)
    assert list(found) == ["missing bolt"]
    assert found["missing bolt"]["auc"] == 1.0


def test_an_empty_set_is_reported(tmp_path: Path) -> None:
    """No questions, no scores, but a report."""
    empty = evaluation([])
    write_report(empty, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["branches"]["token"]["all"]["p_at_05"] is None
    assert all(set(row[2:]) == {"–"} for row in overview(empty.record).rows)


def test_a_disk_that_fills_up_before_the_report_is_told_in_words(tmp_path: Path) -> None:
    """After minutes of scoring: which file, why, and what to do, not a traceback."""
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ConfigurationError, match=r"report\.html cannot be written \(Is a directory\); make room"):
        write_report(evaluation([]), tmp_path)


def test_a_set_without_single_targets_is_reported() -> None:
    """Nothing to draw by size, everything else is there."""
    page = html(evaluation([said("missing bolt", 0.2, [])]))
    assert "Precision by size" not in page and "Reliability" in page


def test_the_page_needs_nothing_beside_itself(picture: str) -> None:
    """Pictures are inside, names are escaped, what was left out is told."""
    page = html(evaluation([said("bolt", 0.9, ELSEWHERE, picture), said("nut", 0.8, [], picture, "none")]))
    links = _Page(page).links
    assert len([link for link in links if link.startswith("data:image/jpeg;base64,")]) == 2
    assert not [link for link in links if not link.startswith(("data:", "#"))]
    assert "some &lt;set&gt;" in page and "Left out: 3 × no words" in page
    assert 'class="truth" x="40.0" y="40.0" width="20.0" height="20.0"' in page
    assert _Page(page).tags.count("svg") == 7


def test_a_referring_set_shows_no_scores_for_absence(picture: str) -> None:
    """P@0.5 and mean IoU only."""
    referring = evaluation([said("bolt", 0.1, HERE, picture), said("nut", 0.9, ELSEWHERE, picture)], "rec")
    assert overview(referring.record).heads == ("", "questions", "P@0.5", "mean IoU")
    assert overview(referring.record).rows[0][2] == "50.0"
    groups = worst(referring.outcomes["token"], 0.5, "rec")
    assert [(group.title, group.count) for group in groups] == [("Wrong place", 1)]
    assert "N-acc" not in html(referring)


def test_a_referring_set_shows_whether_scores_tell_right_from_wrong(picture: str) -> None:
    """Histogram and reliability of right and wrong answers, instead of present and absent things."""
    right = [said("bolt", 0.9, HERE, picture), said("nut", 0.7, HERE, picture)]
    referring = evaluation([*right, said("cap", 0.1, ELSEWHERE, picture)], "rec")
    histogram = referring.scores()["histogram"]
    assert (sum(histogram["right"]), sum(histogram["wrong"])) == (2, 1)
    assert histogram["wrong"][2] == 1 and histogram["right"][2] == 0
    assert referring.scores()["reliability_right"][0] == pytest.approx((0.1, 0.0, 1))
    page = html(referring)
    for text in ("right answers (2)", "wrong answers (1)", "share of right answers"):
        assert text in page
    assert "with a target (" not in page


def test_baselines_answer_the_same_questions() -> None:
    """Never a box, and always the whole image."""
    whole = [[0.0, 0.0, 80.0, 60.0]]
    rows = overview(evaluation([said("a", 0.9, whole), said("b", 0.9, HERE), said("c", 0.1, [])]).record).rows
    heads = overview(evaluation([]).record).heads
    none, everything = (dict(zip(heads, row, strict=True)) for row in rows[1:])
    assert (none["Pr(F1=1)"], none["N-acc"], none["T-acc"]) == ("33.3", "100.0", "0.0")
    assert (everything["P@0.5"], everything["N-acc"], everything["T-acc"]) == ("50.0", "0.0", "100.0")


def test_the_worst_answers_come_first(picture: str) -> None:
    """By kind of fault; a text shows at most twice."""
    alarms = [said("cap", 0.6 + 0.03 * n, [], picture) for n in range(5)] + [
        said(f"nut {n}", 0.55, [], picture) for n in range(9)
    ]
    missed = [said("gear", 0.1, HERE, picture), said("washer", 0.3, HERE, picture)]
    groups = worst([*alarms, *missed, said("fine", 0.9, HERE, picture)], 0.5, "grec")
    assert [(group.title, group.count) for group in groups] == [
        ("Nothing is there", 14), ("Missed", 2), ("Wrong place or number", 0),
    ]  # fmt: skip
    assert len(groups[0].cases) == PER_GROUP
    assert [case.text for case in groups[0].cases][:3] == ["cap", "cap", "nut 0"]
    assert groups[0].cases[0].note == "plain, no target, score 0.72"
    assert [case.text for case in groups[1].cases] == ["gear", "washer"]


def test_the_terminal_shows_branch_and_baselines() -> None:
    """In 80 columns a row is one line, and no number is cut."""
    console = Console(width=80, file=io.StringIO())
    print_report(evaluation([said("bolt", 0.9, HERE), said("nut", 0.1, [])]).record, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert re.search(r"^token branch +2 +100\.0 +100\.0 +100\.0 +100\.0 +100\.0 +100\.0 +1\.000", text, re.MULTILINE)
    assert re.search(r"^always none +2 +0\.0 +0\.0 +50\.0", text, re.MULTILINE) and "…" not in text


def test_intervals_hold_their_share() -> None:
    """Also at the ends, where a plain interval would have no width."""
    assert plots.interval(100.0, 10)[0] < 80 and plots.interval(100.0, 10)[1] == 100
    assert plots.interval(0.0, 10)[0] == 0 < plots.interval(0.0, 10)[1] < 30
    assert plots.interval(50.0, 1000)[0] == pytest.approx(46.9, abs=0.1)


def test_operations_are_those_of_the_formula() -> None:
    """The frame pass: patches, and per layer four projections, two products of attention and the feed-forward; and what
    object tokens find in the image as they enter the first layer, alike for all texts."""
    config = SimVGConfig.tiny(attention="standing", num_decoder_layers=0, loss_weights={"token": 1.0})
    d, hidden, tokens = config.hidden_size, config.intermediate_size, config.num_patches
    layer = 2 * tokens * (4 * d * d + 2 * d * hidden) + 2 * 2 * tokens * tokens * d
    patches = 2 * config.num_patches * 3 * config.patch_size**2 * d
    head = 2 * tokens * d * config.head_size
    entering = 2 * config.num_object_tokens * (3 * d * d + 2 * tokens * d)
    expected = (patches + config.num_hidden_layers * layer + entering + head) / 1e9
    passes = cost_of(SimVGForGrounding(config), seconds=0)["passes"]
    assert passes["frame"]["gflops"] == pytest.approx(expected)
    assert 0 < passes["query"]["gflops"] < passes["frame"]["gflops"] < passes["total, token branch"]["gflops"]


@pytest.mark.parametrize("patches", ["linear", "convolutional"])
def test_packed_weights_cost_the_same_operations(patches: str) -> None:
    """Made ready for this machine, the model does what it did."""
    model, _ = toy(patches=patches)
    plain = {name: row["gflops"] for name, row in cost_of(model, seconds=0)["passes"].items()}
    Execution(packed=True, keep_memory=False).prepare(model, model.device)
    packed = {name: row["gflops"] for name, row in cost_of(model, seconds=0)["passes"].items()}
    assert packed == pytest.approx(plain)


def test_a_joint_model_costs_its_encoder_and_each_branch() -> None:
    """Parts add up to the whole, and measuring leaves the weights able to learn."""
    model, _ = toy("joint")
    passes = cost_of(model, seconds=0)["passes"]
    for branch in ("token", "decoder"):
        parts = passes["encoder"]["gflops"] + passes[f"{branch} branch"]["gflops"]
        assert parts == pytest.approx(passes[f"total, {branch} branch"]["gflops"])
    assert all(parameter.requires_grad for parameter in model.parameters()) and model.training


def test_cost_is_measured_in_the_precision_of_scores(drawn_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same operations on bfloat16 products, and the table says so."""
    model, processor = toy()
    whole = cost_of(model, seconds=0)["passes"]
    kinds: list[torch.dtype] = []
    model.image_projection.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    monkeypatch.setattr("simvg_core.training.cost._RUNS", 1)
    record = evaluate(model, processor, RenderedSet(drawn_set), limit=1, dtype=torch.bfloat16).record
    assert set(kinds) == {torch.bfloat16}
    passes = record["cost"]["passes"]
    assert {name: row["gflops"] for name, row in passes.items()} == {
        name: pytest.approx(row["gflops"]) for name, row in whole.items()
    }
    table = cost(record)
    assert table is not None and table.title.endswith("threads, bfloat16")


@pytest.mark.parametrize("place", ["file", "file/under"], ids=str)
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_asked(
    place: str, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--out` is a file, or lies under one: a line that says so, before hours of scoring."""
    model, processor = toy()
    model.save_pretrained(tmp_path / "toy")
    processor.save_pretrained(tmp_path / "toy")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("simvg_core.training.evaluate.evaluate", lambda *_, **__: pytest.fail("asked in vain"))
    command = ["evaluate", str(tmp_path / "toy"), "--data", str(drawn_set), "--out", str(tmp_path / place)]
    with pytest.raises(ConfigurationError, match=r"nothing can be written into .*file.*; name another folder"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_the_command_writes_record_and_page(drawn_set: Path, tmp_path: Path) -> None:
    """As a user runs it: model folder, rendered set, folder of the report."""
    model, processor = toy()
    model.save_pretrained(tmp_path / "toy")
    processor.save_pretrained(tmp_path / "toy")
    command = ["evaluate", str(tmp_path / "toy"), "--data", str(drawn_set), "--limit", "2", "--no-cost"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "page written to" in done.output
    assert json.loads((tmp_path / "out/report.json").read_text())["model"] == "toy"
    assert (tmp_path / "out/report.html").read_text().startswith("<!doctype html>")
    wrong = CliRunner().invoke(app, [*command, "--branch", "teacher"])
    assert wrong.exit_code != 0 and "no branch teacher; it has token, decoder" in str(wrong.exception)


def test_a_threshold_moves_what_counts(picture: str) -> None:
    """The same answers under another threshold."""
    one = said("bolt", 0.6, HERE, picture)
    assert scores_of([one], 0.5)["all"]["t_acc"] == 100
    assert scores_of([one], 0.7)["all"]["t_acc"] == 0
    assert scores_of([replace(one, score=0.6)], 0.7)["all"]["p_at_05"] == 100


def test_attributes_are_scored_by_what_they_say() -> None:
    """A colour, a size or a condition; no table of a set without such questions."""
    texts = {"red cap": 40, "the grey label": 0, "small nut": 0, "crooked label": 0}
    outcomes = [said(text, 0.9, [[x, 0, x + 10, 10]], kind="attribute") for text, x in texts.items()]
    found = scores_of([*outcomes, said("cap", 0.9, [[40, 40, 50, 50]])], 0.5)["by_attribute"]
    assert {name: (row["questions"], row["p_at_05"]) for name, row in found.items()} == {
        "a colour": (2, 50.0),
        "a size": (1, 100.0),
        "a condition": (1, 100.0),
    }
    assert scores_of([said("red cap", 0.9, [[0, 0, 10, 10]])], 0.5)["by_attribute"] == {}


def test_texts_with_unknown_words_are_scored_apart() -> None:
    """A worker refuses them, so that what it finds is told without them; no table where all words are known."""
    outcomes = [
        said("hole", 0.9, [[0, 0, 10, 10]]),
        said("bore", 0.9, [[0, 0, 10, 10]], kind="synonym"),
        said("opening", 0.9, [[40, 40, 50, 50]], kind="synonym"),
    ]
    found = scores_of(outcomes, 0.5, {"opening": UNKNOWN_WORDS}.get)["by_known"]
    assert {name: (row["questions"], row["p_at_05"]) for name, row in found.items()} == {
        "all words known": (2, 100.0),
        "synonym, all words known": (1, 100.0),
        "a word that training never says": (1, 0.0),
    }
    assert scores_of(outcomes, 0.5)["by_known"] == {}

"""From a run to a model folder with its card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, InputError
from simvg_core.grounder import Grounder
from simvg_core.training import calibrate as calibrating
from simvg_core.training.calibrate import Calibration
from simvg_core.training.card import Training, card
from simvg_core.training.evaluate import evaluate
from simvg_core.training.publish import publish
from simvg_core.training.refused import Refused
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.seen import Compared, check_apart, check_gate_apart
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.train import Trainer
from simvg_core.words import LEARNED
from tests.simvg_core.drawn import write_drawn_set

SHIPPED = Path(__file__).parents[3] / "models" / "line-small"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


@pytest.fixture
def run(toy_settings: dict[str, Any]) -> Path:
    """A finished toy run."""
    return Trainer(TrainSettings(**toy_settings)).run().parent


def drawn(tmp_path_factory: pytest.TempPathFactory, name: str, count: int, seed: int) -> Path:
    """A set of pictures that no other has."""
    folder = tmp_path_factory.mktemp(name)
    write_drawn_set(folder, count, seed=seed)
    return folder


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four other pictures."""
    return drawn(tmp_path_factory, "test", 4, 4)


@pytest.fixture(scope="module")
def hard_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three others again."""
    return drawn(tmp_path_factory, "hard", 3, 5)


@pytest.fixture(scope="module")
def val_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve that calibrate."""
    return drawn(tmp_path_factory, "val", 12, 6)


def test_a_run_becomes_a_calibrated_model_with_its_card(
    run: Path, drawn_set: Path, val_set: Path, test_set: Path, hard_set: Path, tmp_path: Path
) -> None:
    """The folder grounds, its config holds the calibration, and its card says how it was made and scored."""
    out = tmp_path / "toy-line"
    told: list[str] = []
    result = publish(run, out, val_set, test_set, hard_set, progress=lambda what, done, total: told.append(what))
    config = Grounder.from_pretrained(out).config
    assert config.score_temperature == result["calibration"]["temperature"]
    assert config.score_threshold == result["test"]["threshold"] == result["hard"]["threshold"]
    assert result["test"]["images"] == 4
    assert list(dict.fromkeys(told)) == ["validation", "test", "hard"]
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(result))
    card = (out / "README.md").read_text()
    assert card.startswith("# toy-line\n") and "6 steps of 2 pictures with 4 questions" in card
    assert "| token branch |" in card and "### By kind of query" in card and "### Harder pictures" in card
    assert "trained from scratch" in card
    assert f"None of its picture files is in `{drawn_set}`, the calibration's set" in card
    assert "Not compared" not in card and "materials, tones of colours" in card
    assert "## Intended use" in card and "rendered pictures only" in card and "only safeguard for people" in card
    assert "#### By kind of query" in card.split("### Harder pictures")[1]


@pytest.mark.parametrize("gated", [False, True], ids=["without a gate", "with a gate"])
def test_scores_are_those_of_the_written_model(
    run: Path,
    drawn_set: Path,
    val_set: Path,
    test_set: Path,
    tmp_path: Path,
    gated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evaluating the written folder gives the card's scores, which a gate bounds where it got one; without a harder set
    the card has none."""
    out = tmp_path / "out"
    # six steps teach too little to be sure of anything, and a gate is measured from the threshold on
    monkeypatch.setattr(calibrating, "_best_threshold", lambda *given: 0.2)
    result = publish(run, out, val_set, test_set, gate=(drawn_set, val_set) if gated else None)
    again = Grounder.from_pretrained(out)
    assert again.model.bounded == gated == ("A gate bounds the scores" in (out / "README.md").read_text())
    record = evaluate(again.model, again.processor, open_for_scoring(test_set), with_cost=False).record
    assert record["branches"]["token"]["all"] == pytest.approx(result["test"]["branches"]["token"]["all"], abs=1e-4)
    assert "hard" not in result and "Harder" not in (out / "README.md").read_text()


@pytest.fixture
def shipped() -> dict[str, Any]:
    """The shipped model's evaluation."""
    return dict(json.loads((SHIPPED / "evaluation.json").read_text(encoding="utf-8")))


@pytest.fixture
def told(toy_settings: dict[str, Any]) -> Callable[[dict[str, Any]], str]:
    """The card of an evaluation."""

    def write(result: dict[str, Any]) -> str:
        fitted = {name: value for name, value in result["calibration"].items() if name != "questions"}
        fitted["refused"] = Refused(**fitted["refused"])
        training = Training(6, 1.0, asdict(TrainSettings(**toy_settings)))
        folders = {"validation": Path("val"), "test": Path("test"), "hard": Path("hard")}
        return card(Path("toy"), training, Calibration(**fitted), result, folders, Compared(("a",)), answers=5, words=0)

    return write


def test_the_card_hides_no_weak_row(shipped: dict[str, Any], told: Callable[[dict[str, Any]], str]) -> None:
    """Each standing text and kind of either split has its row, and those that are weak are limits by name; so are the
    nouns."""
    card = told(shipped)
    limits = card.split("## Limits")[1]
    harder = card.split("### Harder pictures")[1]
    for name, part in (("test", card.split("### Harder pictures")[0]), ("hard", harder)):
        of_set = "\n".join(line for line in limits.splitlines() if f"`{name}`" in line)
        assert f"- Weak on `{name}`" in of_set
        scores = shipped[name]["branches"]["token"]
        for text, row in (scores["texts"] | scores["by_kind"]).items():
            assert f"| {text} | {row['questions']} |" in part
            weak = (row["t_acc"] is not None and row["t_acc"] < 80) or (row["auc"] is not None and row["auc"] < 0.95)
            assert not weak or f" {text} (" in of_set
        for noun, row in scores["by_noun"].items():
            assert row["t_acc"] is None or row["t_acc"] >= 80 or f" {noun} (" in of_set


NOUN = {"questions": 60, "with_target": 30, "t_acc": 90.0, "auc": 0.99}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, None),
        ({"t_acc": 79.9}, "nouns: pin (80 %, AUC 0.990)"),
        ({"auc": 0.94}, "nouns: pin (90 %, AUC 0.940)"),
        ({"auc": 0.94, "questions": 49}, None),  # of 19 questions without a target
        ({"t_acc": 10.0, "with_target": 20}, "nouns: pin (10 %, AUC 0.990)"),
        ({"t_acc": 10.0, "with_target": 19}, "measured roughly: pin (10 % of 19)"),
        ({"auc": 0.5, "with_target": 19}, None),
        ({"t_acc": None, "auc": None, "with_target": 0}, None),
    ],
    ids=["strong", "found", "told apart", "few without", "enough", "few", "few, told apart", "never there"],
)
def test_a_weak_noun_is_a_limit(
    changed: dict[str, Any],
    named: str | None,
    shipped: dict[str, Any],
    told: Callable[[dict[str, Any]], str],
) -> None:
    """By T-acc or AUC, as far as there are questions enough; with few of them apart, with their number."""
    shipped["test"]["branches"]["token"] |= {"texts": {}, "by_kind": {}, "by_noun": {"pin": NOUN | changed}}
    limits = told(shipped | {"hard": None}).split("## Limits")[1]
    assert (named in limits) if named else ("pin" not in limits)


def test_the_card_counts_the_gate_among_the_parameters(
    shipped: dict[str, Any], told: Callable[[dict[str, Any]], str]
) -> None:
    """The written model's, not those of the run that had no gate yet."""
    assert "6.0 million parameters, 0.5 of them the gate's, standing attention" in told(shipped)
    del shipped["test"]["cost"]["parameters"]["gate"]
    assert "6.0 million parameters, standing attention" in told(shipped)


def test_an_interrupted_publishing_leaves_what_was_there(
    run: Path, val_set: Path, test_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that a worker runs, and its card; and of a new folder nothing. The next publishing replaces all."""
    out = shutil.copytree(SHIPPED, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}

    def interrupted(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("simvg_core.training.publish.card", interrupted)
        for folder in (out, tmp_path / "new"):
            with pytest.raises(KeyboardInterrupt):
                publish(run, folder, val_set, test_set)
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    assert {file.name for file in out.iterdir() if file.is_dir()} == {"onnx"} and not (tmp_path / "new").exists()
    (run / "model" / LEARNED).unlink(missing_ok=True)
    publish(run, out, val_set, test_set)
    assert not (out / LEARNED).exists(), "the words of the model before"
    assert (out / "HISTORY.md").read_bytes() == before["HISTORY.md"]


def test_an_unfinished_run_is_refused(tmp_path: Path, drawn_set: Path) -> None:
    """No weights, no model folder."""
    with pytest.raises(CheckpointError, match="let the run end"):
        publish(tmp_path, tmp_path / "out", drawn_set, drawn_set)
    assert not (tmp_path / "out").exists()


def test_a_log_without_steps_is_refused(tmp_path: Path) -> None:
    """The card would have nothing to tell."""
    (tmp_path / "log.jsonl").write_text('{"what": "settings"}\n')
    with pytest.raises(CheckpointError, match="tells of no training step"):
        Training.of(tmp_path)
    for foreign in ('{"step": 1}', "[1]", "1"):
        (tmp_path / "log.jsonl").write_text(f"{foreign}\n")
        with pytest.raises(CheckpointError, match=r"log\.jsonl cannot be read .*name the folder of a training run"):
            Training.of(tmp_path)


def test_the_run_itself_stays_as_it_was(run: Path, val_set: Path, test_set: Path, tmp_path: Path) -> None:
    """Publishing calibrates the copy only."""
    publish(run, tmp_path / "out", val_set, test_set)
    assert SimVGConfig.from_pretrained(run / "model").score_temperature == 1.0


def test_the_card_of_a_run_on_own_pictures_says_nothing_of_rendered_ones(
    toy_settings: dict[str, Any], worded_set: Path, test_set: Path, val_set: Path, tmp_path: Path
) -> None:
    """It names its sets, what it was asked, its words, and what was not compared."""
    mine = shutil.copytree(worded_set, tmp_path / "mine")
    sets = {"data": (), "sets": (SetSettings(path=str(mine), split="unnamed"),), "batch_size": 2}
    first = Trainer(TrainSettings(**toy_settings | sets | {"max_steps": 1})).run()
    output = str(tmp_path / "next")
    run = Trainer(TrainSettings(**toy_settings | sets | {"start_from": str(first), "output": output})).run().parent
    publish(run, tmp_path / "out", val_set, test_set)
    told = (tmp_path / "out" / "README.md").read_text()
    assert "rendered" not in told and "line's vocabulary" not in told and "questions each" not in told
    assert "6 steps of 2 pictures with one expression each" in told and f"Sets: `{mine}` (unnamed)." in told
    assert f"None of its picture files is in `{mine}`, the calibration's set (compared byte by byte" in told
    assert f"Not compared: what the weights of `{first}` had been trained on." in told
    shutil.rmtree(mine)
    publish(run, tmp_path / "gone", val_set, test_set)
    told = (tmp_path / "gone" / "README.md").read_text()
    assert f"Not compared, because not all of it is there any more: `{mine}`." in told
    assert "None of its picture files is in the calibration's set" in told


def test_the_card_counts_what_a_step_saw(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    """Of all passes and processes; and names the optimizer, the average, and what was left out, as they were."""
    fields = {"accumulation": 3, "optimizer": "adam_amsgrad", "ema": 0.0, "false_texts": 1, "max_steps": 2}
    run = Trainer(TrainSettings(**toy_settings | fields)).run().parent
    lines = (run / "log.jsonl").read_text().replace('"processes": 1', '"processes": 2')
    lines = lines.replace('"left_out": {}', '"left_out": {"broken record": 3}')
    (run / "log.jsonl").write_text(lines)
    training = Training.of(run)
    assert training.step_pictures == 12
    record = json.loads((SHIPPED / "evaluation.json").read_text())
    calibration = Calibration(1.0, 0.0, 0.5, 0.1, 0.1)
    folders = {"validation": Path("val"), "test": Path("test"), "hard": Path("hard")}
    told = card(tmp_path, training, calibration, record, folders, Compared(), answers=5, words=0)
    assert "2 steps of 12 pictures with 4 questions and 1 false text each,\n24 pictures seen" in told
    assert "minutes; Adam with AMSGrad, learning rate\n0.001. Sets" in told and "averaged" not in told
    assert "\nLeft out of them: 3 × broken record.\nOf a question with up to 8 targets a step taught 5 at most." in told


def test_a_log_whose_last_line_is_torn_is_read_and_gone_on_with(toy_settings: dict[str, Any]) -> None:
    """As a full disk leaves it."""
    settings = TrainSettings(**toy_settings)
    run = Trainer(settings).run().parent
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    assert Training.of(run).steps == 6
    Trainer(replace(settings, max_steps=7), resume=True).run()
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert told[-1]["what"] == "end" and Training.of(run).steps == 7


def files(folder: Path) -> set[Path]:
    """A set's pictures."""
    return set((folder / "images").iterdir())


@pytest.mark.parametrize("worded", [False, True], ids=["rendered", "worded"])
def test_sets_that_are_not_apart_are_refused(
    worded: bool, drawn_set: Path, worded_set: Path, val_set: Path, test_set: Path, tmp_path: Path
) -> None:
    """By their places, however written, and by their picture files, under other names too."""
    trained = worded_set if worded else drawn_set
    settings = asdict(
        TrainSettings(
            max_steps=1, **{"sets": (SetSettings(path=str(trained)),)} if worded else {"data": (str(trained),)}
        )
    )

    def check(validation: Path, test: Path) -> Compared:
        folders = {"validation": validation, "test": test}
        found = {name: files(folder) for name, folder in folders.items() if (folder / "images").is_dir()}
        return check_apart(settings, folders, {"validation": set(), "test": set(), **found})

    assert check(val_set, test_set) == Compared([str(trained)], [])
    if worded:
        less = shutil.copytree(trained, tmp_path / "less")
        min(files(less)).unlink()
        settings["sets"][0]["path"] = str(less)
        assert check(val_set, test_set) == Compared([], [str(less)])
        settings["sets"][0]["path"] = str(trained)
        # a path that is named twice, as for two splits: the pictures of both are compared
        once = settings["sets"]
        settings["sets"] = [{**once[0], "images": str(val_set / "images")}, *once]
        with pytest.raises(InputError, match=r"8 of 12 pictures of the validation set, .* in the training set"):
            check(val_set, test_set)
        settings["sets"] = once
    (tmp_path / "link").symlink_to(trained)
    for same in (trained, trained / ".." / trained.name, tmp_path / "link", *([trained / "annotations.json"] * worded)):
        with pytest.raises(InputError, match=r"the test set .* was trained on; name a set of other pictures"):
            check(val_set, same)
    with pytest.raises(InputError, match=r"the validation set .* was trained on"):
        check(trained, test_set)
    with pytest.raises(InputError, match="is the validation set and the test set; name one of other pictures"):
        check(test_set, test_set)
    other = shutil.copytree(test_set, tmp_path / "other")
    shutil.copy(min(files(trained)), other / "images" / "renamed.jpg")
    with pytest.raises(InputError, match=r"1 of 5 pictures of the test set, .*renamed\.jpg .* in the training set"):
        check(val_set, other)
    shutil.copy(min(files(val_set)), other / "images" / "renamed.jpg")
    with pytest.raises(InputError, match=r"1 of 5 pictures of the test set, .* in the validation set: scores on what"):
        check(val_set, other)


@pytest.mark.parametrize(
    ("fit", "data", "message"),
    [
        ("taught", "val", None),
        ("test", "val", r"of the test set, .* are also in --gate-fit .*test"),
        ("taught", "test", r"of the test set, .* are also in --gate-data .*test"),
        ("taught", "hard", r"of the hard set, .* are also in --gate-data .*hard"),
        ("val", "val", r"of the --gate-data set, .* are also in --gate-fit .*val"),
        ("taught", "empty", "empty holds no picture"),
    ],
)
def test_a_gate_knows_nothing_of_what_it_is_scored_on(fit: str, data: str, message: str | None, tmp_path: Path) -> None:
    """It bounds the scores, by the truth of the pictures that taught it: before anything is asked, it is compared."""
    for name in ("taught", "val", "test", "hard", "empty"):
        (tmp_path / name / "images").mkdir(parents=True)
        if name != "empty":
            (tmp_path / name / "images" / "1.jpg").write_text(name.ljust(8))
    pictures = {name: {tmp_path / name / "images" / "1.jpg"} for name in ("validation", "test", "hard")}
    pictures["validation"] = {tmp_path / "val" / "images" / "1.jpg"}
    if message is None:
        check_gate_apart(tmp_path / fit, tmp_path / data, pictures)
        return
    with pytest.raises(InputError, match=message):
        check_gate_apart(tmp_path / fit, tmp_path / data, pictures)

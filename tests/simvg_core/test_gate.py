"""The gate: queries that are cold in a frame cost nothing there, and the others are answered as without it."""

import itertools

import cv2
import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from simvg_core import asking
from simvg_core.calibration import calibrated, raw_logit
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError, ImageError, InputError
from simvg_core.gate import FLOORS, ROUNDING, GateCurve, bounded, highest, store
from simvg_core.gate_cli import gate
from simvg_core.gate_fit import FALSE, FEWEST_QUERIES, TRUE, FitSettings, Lesson, fit, measure
from simvg_core.gate_run import pool_of
from simvg_core.grounder import Grounder
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from tests.simvg_core.test_grounder import grounder, picture
from tests.simvg_core.test_standing import MODELS, _texts

TEXTS = ["red cap", "blue cap", "missing bolt"]


def _gated(floors=(), thresholds=(), **settings):
    """A tiny model with a gate that no one has taught, and the words of the others."""
    torch.manual_seed(5)
    plain = grounder()
    heads = {"num_queries": 3, "auxiliary_heads": True, "box_head": "pointer", "heat_guidance": True, "num_kinds": 3}
    config = SimVGConfig.tiny(
        attention="standing", tokenizer="fast", vocab_size=16, score_threshold=0.0, num_colors=2, gate_heads=2,
        gate_width=4, gate_floors=list(floors), gate_thresholds=list(thresholds), **heads, **settings,
    )  # fmt: skip
    model = SimVGForGrounding(config)
    for parameter in model.gate.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return Grounder(model.eval(), SimVGProcessor(config, plain.processor.text.pieces))


def _pixels(model, count=2):
    return model.processor.frames([picture(seed=seed) for seed in range(count)]).pixel_values


def _warmth(model, pixels, texts=TEXTS):
    """What the gate says of every text in every frame, and the texts."""
    compiled = model.compile(texts)._state[1].texts
    with torch.inference_mode():
        return asking.warmth(model.model, compiled, asking.see(model.model, pixels)), compiled


def test_warm_queries_are_answered_as_without_the_gate_and_cold_ones_get_its_score():
    """Each frame decides for itself; a cold query has no box and the stored score."""
    model = _gated([0.2], [0.0], gate_score=0.03)
    pixels = _pixels(model)
    warmth, compiled = _warmth(model, pixels)
    gate = float(warmth.median())
    model.config.gate_thresholds = [gate]
    full = model.model.ground_frames(pixels, compiled)
    out = model.model.ground_frames(pixels, compiled, gate=gate)
    warm = warmth >= gate
    assert 0 < int(warm.sum()) < warm.numel()
    torch.testing.assert_close(out.token_logits[warm], full.token_logits[warm], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.token_boxes[warm], full.token_boxes[warm], atol=1e-5, rtol=0)
    assert torch.all(out.token_boxes[~warm] == 0)
    assert calibrated(out.token_logits[~warm], model.config).numpy() == pytest.approx(0.03, abs=1e-6)


def test_no_answer_scores_more_than_the_gate_allows():
    """Asked or not, in frames or in one pass over images and texts; what the gate lets pass keeps its score."""
    model = _gated([0.03, 0.06], [-1.0, 1.0], gate_queries=9)
    pixels = _pixels(model)
    warmth, compiled = _warmth(model, pixels)
    ordered = warmth.flatten().sort().values
    low, high = (float(ordered[place : place + 2].mean()) for place in (1, 3))  # rounding decides at none of them
    model.config.gate_thresholds = [low, high]
    scores = calibrated(model.model.ground_frames(pixels, compiled).token_logits, model.config).amax(dim=-1)
    with torch.inference_mode():
        seen = asking.see(model.model, pixels)
        free = calibrated(asking.ask_objects(model.model, compiled, seen).logits, model.config).amax(dim=-1)
    assert bool((free > 0.06).all()), "or nothing would have to be bounded"
    assert bool((scores[warmth < low] < 0.03).all()) and bool((scores[warmth < high] < 0.06).all())
    torch.testing.assert_close(scores[warmth >= high], free[warmth >= high])
    batch = model.processor.texts(TEXTS)
    with torch.inference_mode():
        out = model.model(
            pixels, batch.input_ids.repeat(2, 1), batch.attention_mask.repeat(2, 1),
            image_index=torch.tensor([0, 0, 0, 1, 1, 1]),
        )  # fmt: skip
    again = calibrated(out.token_logits, model.config).amax(dim=-1)
    torch.testing.assert_close(again.unflatten(0, (2, 3)), scores, atol=1e-5, rtol=0)


@given(
    steps=st.lists(st.tuples(st.floats(0.01, 0.9), st.floats(-5, 5)), min_size=1, max_size=6, unique_by=lambda s: s[0]),
    warmths=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=20),
)
def test_what_the_gate_allows_rises_and_stays_below_each_score_under_its_threshold(steps, warmths):
    """For any thresholds, also such that coincide; from the last one on there is no bound."""
    config = SimVGConfig.tiny(attention="standing", gate_heads=1, score_temperature=1.3, score_bias=-0.4)
    config.gate_floors = sorted(floor for floor, _ in steps)
    config.gate_thresholds = sorted(threshold for _, threshold in steps)
    warmth = torch.tensor(sorted(warmths))
    most = highest(warmth, config)
    assert bool((most.diff() >= -1e-3).all())
    allowed = torch.sigmoid(most / config.score_temperature + config.score_bias)
    for floor, threshold in zip(config.gate_floors, config.gate_thresholds, strict=True):
        assert bool((allowed[warmth < threshold] <= floor + 1e-4).all())
    assert bool((allowed[warmth >= config.gate_thresholds[-1]] == 1).all())


def test_the_best_answer_stays_the_best():
    """What the gate takes from it, it takes from the others of its text."""
    logits = torch.tensor([[[2.0, 0.0], [1.0, -2.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    lower = bounded(logits, torch.tensor([0.5, 5.0]))
    differences = lower[..., 0] - lower[..., 1]
    assert differences[0].tolist() == [-0.5, 0.5, -6.5]
    assert torch.equal(lower[1], logits[1])


def test_numbers_that_are_none_stay_none():
    """A gate that breaks must not make a text look absent."""
    config = SimVGConfig.tiny(attention="standing", gate_heads=1, gate_floors=[0.5], gate_thresholds=[0.0])
    most = highest(torch.tensor([float("nan"), 1.0]), config)
    logits = bounded(torch.zeros(2, 1, 2), most)
    assert bool(logits[0].isnan().all()) and bool((logits[1] == 0).all())


def test_only_warm_queries_run(monkeypatch):
    """Cold queries enter no layer."""
    model = _gated([0.2], [0.0])
    pixels = _pixels(model, 1)
    warmth, compiled = _warmth(model, pixels)
    counts = []
    whole = asking.ask_pairs

    def counted(model, texts, frames):
        counts.append(len(texts))
        return whole(model, texts, frames)

    monkeypatch.setattr(asking, "ask_pairs", counted)
    model.model.ground_frames(pixels, compiled, gate=float(warmth.max()))
    model.model.ground_frames(pixels, compiled, gate=float(warmth.max()) + 1)
    assert counts == [1]


def test_a_model_without_a_gate_says_how_it_gets_one():
    """Asked for one, and given thresholds for none."""
    model = MODELS["line"]
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    with pytest.raises(ConfigurationError, match="this model has no gate, or it is off; `simvg gate MODEL --fit"):
        model.ground_frames(pixels, model.compile_queries(*_texts([3], 1)), gate=0.0)
    with pytest.raises(ConfigurationError, match="gate_floors needs gate_heads above 0"):
        SimVGConfig.tiny(attention="standing", auxiliary_heads=True, gate_floors=[0.2], gate_thresholds=[0.0])
    with pytest.raises(ConfigurationError, match="none below the one before it"):
        SimVGConfig.tiny(attention="standing", gate_heads=1, gate_floors=[0.2, 0.5], gate_thresholds=[1.0, 0.0])


def _curve(warmth, score, right=None):
    return GateCurve(
        np.array(warmth, float), np.array(score, float), np.array([True] * len(score) if right is None else right)
    )


def test_the_threshold_keeps_the_recall_it_was_asked_for():
    """Of four pairs from 0.8 on a recall of 0.75 may lose the coldest; pairs below do not count."""
    measured = _curve([3.0, -1.0, 2.0, 0.5, -5.0, 1.0], [0.9, 0.8, 0.95, 0.1, 0.02, 0.85])
    whole, most = measured.for_recall(0.8, 1.0), measured.for_recall(0.8, 0.75)
    assert (whole.threshold, whole.recall, whole.passing) == (-1.0, 1.0, pytest.approx(5 / 6))
    assert whole.closed_score == pytest.approx(0.02)
    assert (most.threshold, most.recall, most.passing) == (1.0, 0.75, 0.5)
    assert (measured.found(0.8), measured.found(0.1)) == (4, 5)


def test_what_is_found_wrongly_need_not_pass():
    """Only right findings have a recall; the others count among those that pass or not."""
    measured = _curve([3.0, -1.0, 2.0], [0.9, 0.8, 0.95], [True, False, True])
    point = measured.for_recall(0.8, 1.0)
    assert (point.threshold, point.recall, point.passing) == (2.0, 1.0, pytest.approx(2 / 3))
    assert measured.found(0.8) == 2


def test_each_score_from_which_on_one_may_care_has_its_threshold():
    """Lower scores lie colder; one that by chance lies warmer keeps the threshold of the next."""
    warmth = [4.0, 3.0, 2.0, 2.5, 1.0, 0.0, -9.0]
    points = _curve(warmth, [0.95, 0.75, 0.65, 0.55, 0.35, 0.25, 0.01]).points(1.0, 0.7)
    assert [point.floor for point in points] == [*FLOORS, 0.7]
    expected = [0.0] * 4 + [1.0] * 2 + [2.0] * 5 + [3.0]
    assert [point.threshold + ROUNDING for point in points] == pytest.approx(expected)
    assert [point.recall for point in points] == [1.0] * 12


def test_nothing_found_gives_no_gate():
    """Without a found pair there is no recall to keep."""
    with pytest.raises(InputError, match=r"rightly gives none of 2 pairs of picture and text a score of 0\.25"):
        _curve([1.0, 2.0], [0.1, 0.2]).points(0.999, 0.7)


def test_a_stored_gate_gives_cold_queries_the_mean_score_of_what_it_keeps_out():
    """The stored score comes back through the model's calibration, and is below every score that makes a difference."""
    config = SimVGConfig.tiny(attention="standing", gate_heads=1, score_temperature=1.2, score_bias=0.3)
    points = _curve([3.0, -1.0, -2.0], [0.9, 0.04, 0.02]).points(1.0, 0.7)
    store(config, points)
    assert config.gate_floors == [*FLOORS, 0.7]
    assert config.gate_thresholds == pytest.approx([3.0 - ROUNDING] * 12)
    assert config.gate_score == pytest.approx(0.03)
    closed = raw_logit(config.gate_score, config)
    assert float(calibrated(torch.tensor([closed / 2, -closed / 2]), config)) == pytest.approx(0.03)
    store(config, _curve([3.0, -1.0], [0.9, 0.08]).points(1.0, 0.7))
    assert config.gate_score == 0.05, "half of the lowest floor"


def test_a_grounder_uses_the_gate_from_the_number_of_queries_on():
    """With fewer queries all are asked; with as many as the setting says, the cold ones are absent with its score.
    Without the gate's choice all are asked, and score no more."""
    model = _gated([0.2], [1e9], gate_score=0.02, gate_queries=3)
    two = model.ground([picture()], ["red cap", "blue cap"], floors=0.2)[0]
    three = model.ground([picture()], ["red cap", "blue cap", "missing bolt"], floors=0.2)[0]
    assert all(answer.asked and answer.score < 0.2 for answer in two)
    assert {answer.state for answer in three} == {"absent"} and not any(answer.asked for answer in three)
    assert three[0].score == pytest.approx(0.02, abs=1e-6)
    model.gate = False
    assert all(answer.asked and answer.score < 0.2 for answer in model.ground([picture()], TEXTS, floors=0.2)[0])


def test_the_gate_answers_only_for_scores_that_make_no_difference():
    """A query that cares for scores lower than the gate was measured at is asked, whatever the others care for."""
    model = _gated([0.3, 0.6], [-1e9, 1e9], gate_score=0.02, gate_queries=3)
    texts = TEXTS
    full = model.ground([picture()], texts, floors=0.1)[0]
    mixed = model.ground([picture()], texts, floors=[0.1, 0.5, 0.8])[0]
    assert [one.asked for one in mixed] == [True, True, False]
    assert [one.score for one in mixed[:2]] == pytest.approx([one.score for one in full[:2]], abs=1e-6)
    assert not any(one.asked for one in model.ground([picture()], texts, thresholds=0.7)[0])
    with pytest.raises(InputError, match="2 floors for 3 texts"):
        model.ground([picture()], texts, floors=[0.1, 0.5])
    with pytest.raises(InputError, match=r"floors 1\.5 must lie in 0 … 1"):
        model.ground([], texts, floors=1.5)


def test_frames_are_asked_their_own_texts(monkeypatch):
    """In one frame pass, with and without a gate; as many questions as frames."""
    model = _gated()
    frames = [picture(seed=seed) for seed in range(3)]
    first, second = model.question(["red cap", "missing bolt"]), model.question(["blue cap"])
    passes, see = [], asking.see
    monkeypatch.setattr(asking, "see", lambda net, pixels: passes.append(len(pixels)) or see(net, pixels))
    found = model.ground_each(frames, [first, second, first])
    assert passes == [3]
    for frame, question, row in zip(frames, [first, second, first], found, strict=True):
        alone = model.ground([frame], list(question.texts))[0]
        assert [one.score for one in row] == pytest.approx([one.score for one in alone], abs=1e-5)
    with pytest.raises(InputError, match="1 questions for 3 frames"):
        model.ground_each(frames, [first])
    with pytest.raises(ImageError, match=r"pass a list of frames: \[frame\]"):
        model.ground(frames[0], ["red cap"])


def test_five_thousand_queries_are_answered():
    """More queries than run at once are all answered, in order."""
    model = grounder()
    compiled = model.compile(["red cap", "missing bolt"])
    while len(compiled) < 5000:
        names, ready = compiled._state
        compiled._state = (names + names, ready.copy().add(ready.copy()))
    answers = model.ground([picture()], compiled)[0]
    assert len(answers) == len(compiled) >= 5000
    assert answers[-1].score == pytest.approx(answers[1].score, abs=1e-5)


def _command(model, pictures, **settings):
    """`simvg gate` with its defaults, as typer would call it."""
    usual = {"fit": None, "recall": 1.0, "limit": None, "pictures": 9, "texts": 9, "epochs": 1}
    gate(model, pictures, **{**usual, "seed": 0, "store": True, "off": False, **settings})


def test_the_command_stores_a_threshold_and_turns_it_off_again(tmp_path, capsys):
    """Pictures and queries in, a curve on the screen, the chosen point in the model's config."""
    model, pictures = _gated([0.5], [0.0]), tmp_path / "pictures"
    model.model.save_pretrained(tmp_path / "model")
    model.processor.save_pretrained(tmp_path / "model")
    pictures.mkdir()
    for seed in range(2):
        cv2.imwrite(str(pictures / f"{seed}.png"), picture(seed=seed))
    queries = tmp_path / "queries.txt"
    queries.write_text("red cap\nmissing bolt\n", encoding="utf-8")
    _command(tmp_path / "model", pictures, queries=queries)
    assert "| 0 | 4 |" in (said := capsys.readouterr().out) and "4 pairs of picture and query" in said
    stored = SimVGConfig.from_pretrained(tmp_path / "model")
    texts = model.compile(["red cap", "missing bolt"])._state[1].texts
    frames = [cv2.imread(str(pictures / f"{seed}.png")) for seed in range(2)]
    with torch.inference_mode():
        seen = asking.see(model.model, model.processor.frames(frames).pixel_values)
        warm = asking.warmth(model.model, texts, seen)
    assert stored.gate_thresholds == pytest.approx([float(warm.min())], abs=1e-4)
    gate(tmp_path / "model", pictures, off=True)
    assert SimVGConfig.from_pretrained(tmp_path / "model").gate_floors == []


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    """The message names the file."""
    model = _gated()
    model.model.save_pretrained(tmp_path / "model")
    model.processor.save_pretrained(tmp_path / "model")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    queries = tmp_path / "queries.txt"
    queries.write_text("red cap", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.png is not a picture"):
        _command(tmp_path / "model", tmp_path, queries=queries)


def test_wrong_paths_are_named_and_write_nothing(tmp_path):
    """A folder without config.json is no model of the usual settings, least of all one to write them into."""
    (tmp_path / "empty").mkdir()
    for folder, off in itertools.product(("empty", "nowhere"), (False, True)):
        with pytest.raises(CheckpointError, match=f"{folder} is not a model folder"):
            _command(tmp_path / folder, tmp_path, off=off)
    assert list((tmp_path / "empty").iterdir()) == []
    (tmp_path / "latin.txt").write_bytes("größe".encode("latin-1"))
    for name in ("latin.txt", "none.txt"):
        with pytest.raises(InputError, match=rf"{name} cannot be read .*give a text file in UTF-8"):
            pool_of(tmp_path / name, 0)
    (tmp_path / "marked.txt").write_text("red cap\n", encoding="utf-8-sig")
    assert list(pool_of(tmp_path / "marked.txt", 0)) == ["red cap"]


def test_no_pictures_at_all_cannot_be_asked_for():
    """Of none there is nothing to measure."""
    result = CliRunner().invoke(_alone(gate), ["model", "--data", "pictures", "--limit", "0"])
    assert result.exit_code == 2 and "--limit" in result.output and "equal to 1" in result.output


def _alone(command):
    app = typer.Typer()
    app.command()(command)
    return app


def test_gate_layers_are_fitted_and_lower_no_score_that_counts(tmp_path, capsys):
    """Taught on a few pictures, the gate tells found from not found better than chance; where nothing is known to be
    wrong, what is found keeps its score, and nothing scores more than before."""
    model, pictures = _gated(), tmp_path / "pictures"
    frames = [picture(seed=seed) for seed in range(6)]
    before = [one.score for row in model.ground(frames, TEXTS) for one in row]
    model.config.score_threshold = float(sorted(before)[len(before) // 2])
    model.model.save_pretrained(tmp_path / "model")
    model.processor.save_pretrained(tmp_path / "model")
    pictures.mkdir()
    for seed, frame in enumerate(frames):
        cv2.imwrite(str(pictures / f"{seed}.png"), frame)
    queries = tmp_path / "queries.txt"
    queries.write_text("\n".join(TEXTS), encoding="utf-8")
    _command(tmp_path / "model", pictures, queries=queries, fit=pictures, epochs=60)
    fitted = Grounder.from_pretrained(tmp_path / "model")
    assert fitted.config.gate_heads > 0 and fitted.config.gate_queries >= FEWEST_QUERIES
    assert " | 9 | " in (said := capsys.readouterr().out) and "18 pairs of picture and query" in said
    compiled = fitted.compile(TEXTS)._state[1].texts
    with torch.inference_mode():
        seen = asking.see(fitted.model, fitted.processor.frames(frames).pixel_values)
        open_to = (asking.warmth(fitted.model, compiled, seen) >= fitted.config.gate_thresholds[-1]).flatten()
    found = torch.tensor(before) >= model.config.score_threshold
    assert bool(open_to[found].all()) and int(open_to.sum()) < 18
    after = torch.tensor([one.score for row in fitted.ground(frames, TEXTS) for one in row])
    torch.testing.assert_close(after[found], torch.tensor(before)[found], atol=1e-6, rtol=0)
    assert bool((after <= torch.tensor(before) + 1e-6).all())


def test_the_truth_teaches_what_must_not_pass():
    """Two texts that the model finds alike in every picture: the one that is not there lies colder afterwards."""
    model = _gated()
    frames = [picture(seed=seed) for seed in range(8)]
    compiled = model.compile(TEXTS[:2])._state[1].texts
    with torch.inference_mode():
        seen = asking.see(model.model, model.processor.frames(frames).pixel_values)
    scores = torch.tensor([0.9, 0.9])
    lessons = [Lesson(image, torch.tensor([0, 1]), scores, torch.tensor([FALSE, TRUE])) for image in seen.image]
    fit(model, lessons, compiled, FitSettings(epochs=200, texts=4))
    curve = measure(model, lessons, compiled)
    assert curve.right.tolist() == [False, True] * 8
    assert curve.warmth[curve.right].min() > curve.warmth[~curve.right].max()

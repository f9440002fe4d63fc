"""The gate: queries that are cold in a frame cost nothing there, and the others are answered as without it."""

import cv2
import numpy as np
import pytest
import torch

from simvg_core import asking
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError, ImageError, InputError
from simvg_core.gate import ROUNDING, GateCurve, closed_logit, store
from simvg_core.gate_cli import gate
from simvg_core.gate_fit import FEWEST_QUERIES
from simvg_core.grounder import Grounder
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor, calibrated
from tests.simvg_core.test_grounder import grounder, picture
from tests.simvg_core.test_standing import MODELS, _texts


def _frames(count=2):
    return torch.randn(count, 3, 96, 96, generator=torch.Generator().manual_seed(4))


def test_warm_queries_are_answered_as_without_the_gate_and_cold_ones_get_its_score():
    """Each frame decides for itself; a cold query has no box and the stored score."""
    model = MODELS["line"]
    model.config.gate_score = 0.03
    standing = model.compile_queries(*_texts([3, 7, 5, 2, 4, 6], 5))
    full = model.ground_frames(_frames(), standing, heat_map=True)
    warmth = full.heat_map.amax(dim=-1)
    gate = float(warmth.median())
    out = model.ground_frames(_frames(), standing, gate=gate)
    warm = warmth >= gate
    assert 0 < int(warm.sum()) < warm.numel()
    torch.testing.assert_close(out.token_logits[warm], full.token_logits[warm], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.token_boxes[warm], full.token_boxes[warm], atol=1e-5, rtol=0)
    assert torch.all(out.token_boxes[~warm] == 0)
    assert calibrated(out.token_logits[~warm], model.config).numpy() == pytest.approx(0.03, abs=1e-6)


def test_only_warm_queries_run(monkeypatch):
    """Cold queries enter no layer."""
    model = MODELS["line"]
    standing = model.compile_queries(*_texts([3, 7, 5, 2], 5))
    warmth = model.ground_frames(_frames(1), standing, heat_map=True).heat_map.amax(dim=-1)[0]
    counts = []
    whole = asking.ask_pairs

    def counted(model, texts, frames):
        counts.append(len(texts))
        return whole(model, texts, frames)

    monkeypatch.setattr(asking, "ask_pairs", counted)
    model.ground_frames(_frames(1), standing, gate=float(warmth.max()))
    model.ground_frames(_frames(1), standing, gate=float(warmth.max()) + 1)
    assert counts == [1]


def test_a_gate_needs_a_heat_map():
    """The message says which models have one."""
    model = MODELS["paper"]
    with pytest.raises(ConfigurationError, match="a gate needs a model with auxiliary_heads=True"):
        model.ground_frames(_frames(1), model.compile_queries(*_texts([3], 1)), gate=0.0)


def _curve(warmth, score):
    return GateCurve(np.array(warmth, float), np.array(score, float))


def test_the_threshold_keeps_the_recall_it_was_asked_for():
    """Of four pairs from 0.8 on a recall of 0.75 may lose the coldest; pairs below do not count."""
    measured = _curve([3.0, -1.0, 2.0, 0.5, -5.0, 1.0], [0.9, 0.8, 0.95, 0.1, 0.02, 0.85])
    whole, most = measured.for_recall(0.8, 1.0), measured.for_recall(0.8, 0.75)
    assert (whole.threshold, whole.recall, whole.passing) == (-1.0, 1.0, pytest.approx(5 / 6))
    assert whole.closed_score == pytest.approx(0.02)
    assert (most.threshold, most.recall, most.passing) == (1.0, 0.75, 0.5)
    assert (measured.found(0.8), measured.found(0.1)) == (4, 5)


def test_each_score_from_which_on_one_may_care_has_its_threshold():
    """Lower scores lie colder; one that by chance lies warmer keeps the threshold of the next."""
    warmth = [4.0, 3.0, 2.0, 2.5, 1.0, 0.0, -9.0]
    points = _curve(warmth, [0.95, 0.75, 0.65, 0.55, 0.35, 0.25, 0.01]).points(1.0, 0.7)
    assert [point.floor for point in points] == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [point.threshold + ROUNDING for point in points] == pytest.approx([0.0, 1.0, 2.0, 2.0, 2.0, 3.0])
    assert [point.recall for point in points] == [1.0] * 6


def test_nothing_found_gives_no_gate():
    """Without a found pair there is no recall to keep."""
    with pytest.raises(InputError, match=r"gives none of 2 pairs of picture and text a score of 0\.3"):
        _curve([1.0, 2.0], [0.1, 0.2]).points(0.999, 0.7)


def test_a_stored_gate_gives_cold_queries_the_mean_score_of_what_it_keeps_out():
    """The stored score comes back through the model's calibration, and is below every score that makes a difference."""
    config = MODELS["line"].config
    before = (config.gate_floors, config.gate_thresholds, config.gate_score)
    try:
        points = _curve([3.0, -1.0, -2.0], [0.9, 0.04, 0.02]).points(1.0, 0.7)
        store(config, points)
        assert config.gate_floors == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
        assert config.gate_thresholds == pytest.approx([3.0 - ROUNDING] * 6)
        assert config.gate_score == pytest.approx(0.03)
        closed = closed_logit(config)
        assert float(calibrated(torch.tensor([closed / 2, -closed / 2]), config)) == pytest.approx(0.03)
        store(config, _curve([3.0, -1.0], [0.9, 0.18]).points(1.0, 0.7))
        assert config.gate_score == 0.1, "half of the lowest floor"
    finally:
        config.gate_floors, config.gate_thresholds, config.gate_score = before


def _gated(**settings):
    """A tiny model with a heat map, and the words of the others."""
    torch.manual_seed(5)
    plain = grounder()
    heads = {"num_queries": 3, "auxiliary_heads": True, "box_head": "pointer", "heat_guidance": True, "num_kinds": 3}
    config = SimVGConfig.tiny(
        attention="standing", tokenizer="fast", vocab_size=16, score_threshold=0.0, num_colors=2, **heads, **settings
    )
    return Grounder(SimVGForGrounding(config), SimVGProcessor(config, plain.processor.text.pieces))


def test_a_grounder_uses_the_gate_from_the_number_of_queries_on():
    """With fewer queries all are asked; with as many as the setting says, the cold ones are absent with its score."""
    model = _gated(gate_floors=[0.2], gate_thresholds=[1e9], gate_score=0.02, gate_queries=3)
    two = model.ground([picture()], ["red cap", "blue cap"], floors=0.2)[0]
    three = model.ground([picture()], ["red cap", "blue cap", "missing bolt"], floors=0.2)[0]
    assert {answer.state for answer in two} == {"present"} and all(answer.asked for answer in two)
    assert {answer.state for answer in three} == {"absent"} and not any(answer.asked for answer in three)
    assert three[0].score == pytest.approx(0.02, abs=1e-6)


def test_the_gate_answers_only_for_scores_that_make_no_difference():
    """A query that cares for scores lower than the gate was measured at is asked, whatever the others care for."""
    model = _gated(gate_floors=[0.3, 0.6], gate_thresholds=[-1e9, 1e9], gate_score=0.02, gate_queries=3)
    texts = ["red cap", "blue cap", "missing bolt"]
    full = model.ground([picture()], texts)[0]
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
    model, pictures = _gated(), tmp_path / "pictures"
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
        warm = asking.warmth(model.model, texts, seen.image)
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


def test_gate_layers_are_fitted_to_what_the_full_pass_says_and_change_no_answer(tmp_path, capsys):
    """Taught on a few pictures, the gate tells found from not found better than chance; the answers stay."""
    model, pictures = _gated(), tmp_path / "pictures"
    frames = [picture(seed=seed) for seed in range(6)]
    texts = ["red cap", "missing bolt", "blue cap"]
    before = model.ground(frames, texts)
    scores = [one.score for row in before for one in row]
    model.config.score_threshold = float(sorted(scores)[len(scores) // 2])
    model.model.save_pretrained(tmp_path / "model")
    model.processor.save_pretrained(tmp_path / "model")
    pictures.mkdir()
    for seed, frame in enumerate(frames):
        cv2.imwrite(str(pictures / f"{seed}.png"), frame)
    queries = tmp_path / "queries.txt"
    queries.write_text("\n".join(texts), encoding="utf-8")
    _command(tmp_path / "model", pictures, queries=queries, fit=pictures, epochs=60)
    fitted = Grounder.from_pretrained(tmp_path / "model")
    assert fitted.config.gate_heads > 0 and fitted.config.gate_queries >= FEWEST_QUERIES
    assert " | 9 | " in (said := capsys.readouterr().out) and "18 pairs of picture and query" in said
    compiled = fitted.compile(texts)._state[1].texts
    with torch.inference_mode():
        seen = asking.see(fitted.model, fitted.processor.frames(frames).pixel_values)
        open_to = (asking.warmth(fitted.model, compiled, seen.image) >= fitted.config.gate_thresholds[-1]).flatten()
    found = torch.tensor(scores) >= model.config.score_threshold
    assert bool(open_to[found].all()) and int(open_to.sum()) < 18
    assert [one.score for row in fitted.ground(frames, texts) for one in row] == pytest.approx(scores, abs=1e-6)

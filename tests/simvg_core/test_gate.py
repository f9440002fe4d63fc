"""The gate: queries that are cold in a frame cost nothing there, and the others are answered as without it."""

import cv2
import pytest
import torch

from simvg_core import asking
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError, InputError
from simvg_core.gate import closed_logit, curve, store
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


def test_the_threshold_keeps_the_recall_it_was_asked_for():
    """Of four found pairs a recall of 0.75 may lose the coldest; pairs not found do not count."""
    measured = curve([3.0, -1.0, 2.0, 0.5, -5.0, 1.0], [0.9, 0.8, 0.95, 0.1, 0.02, 0.85], [1, 1, 1, 0, 0, 1])
    whole, most = measured.for_recall(1.0), measured.for_recall(0.75)
    assert (whole.threshold, whole.recall, whole.passing) == (-1.0, 1.0, pytest.approx(5 / 6))
    assert whole.closed_score == pytest.approx(0.02)
    assert (most.threshold, most.recall, most.passing) == (1.0, 0.75, 0.5)


def test_nothing_found_gives_no_gate():
    """Without a found pair there is no recall to keep."""
    with pytest.raises(InputError, match="finds nothing in 2 pairs"):
        curve([1.0, 2.0], [0.1, 0.2], [False, False])


def test_a_stored_point_gives_cold_queries_the_mean_score_of_what_it_keeps_out():
    """The stored score comes back through the model's calibration."""
    config = MODELS["line"].config
    before = (config.gate_threshold, config.gate_score)
    try:
        store(config, curve([3.0, -1.0, -2.0], [0.9, 0.04, 0.02], [True, False, False]).for_recall(1.0))
        assert (config.gate_threshold, config.gate_score) == (3.0, pytest.approx(0.03))
        closed = closed_logit(config)
        assert float(calibrated(torch.tensor([closed / 2, -closed / 2]), config)) == pytest.approx(0.03)
    finally:
        config.gate_threshold, config.gate_score = before


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
    model = _gated(gate_threshold=1e9, gate_score=0.02, gate_queries=3)
    two = model.ground([picture()], ["red cap", "blue cap"])[0]
    three = model.ground([picture()], ["red cap", "blue cap", "missing bolt"])[0]
    assert {answer.state for answer in two} == {"present"}
    assert {answer.state for answer in three} == {"absent"}
    assert three[0].score == pytest.approx(0.02, abs=1e-6)


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
    usual = {"fit": None, "recall": 1.0, "threshold": None, "limit": None, "pictures": 9, "texts": 9, "epochs": 1}
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
    assert "4 pairs of picture and query, 4 found" in capsys.readouterr().out
    stored = SimVGConfig.from_pretrained(tmp_path / "model")
    texts = model.compile(["red cap", "missing bolt"])._state[1].texts
    frames = [cv2.imread(str(pictures / f"{seed}.png")) for seed in range(2)]
    with torch.inference_mode():
        seen = asking.see(model.model, model.processor.frames(frames).pixel_values)
        warm = asking.warmth(model.model, texts, seen.image)
    assert stored.gate_threshold == pytest.approx(float(warm.min()), abs=1e-4)
    gate(tmp_path / "model", pictures, off=True)
    assert SimVGConfig.from_pretrained(tmp_path / "model").gate_threshold is None


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
    assert "18 pairs of picture and query, 9 found" in capsys.readouterr().out
    compiled = fitted.compile(texts)._state[1].texts
    with torch.inference_mode():
        seen = asking.see(fitted.model, fitted.processor.frames(frames).pixel_values)
        open_to = (asking.warmth(fitted.model, compiled, seen.image) >= fitted.config.gate_threshold).flatten()
    found = torch.tensor(scores) >= model.config.score_threshold
    assert bool(open_to[found].all()) and int(open_to.sum()) < 18
    assert [one.score for row in fitted.ground(frames, texts) for one in row] == pytest.approx(scores, abs=1e-6)

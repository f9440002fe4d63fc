"""The face for users: frames and words in, boxes in pixels out."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from simvg_core.answers import NO_NUMBER
from simvg_core.asking import ask_pairs, see
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError, ImageError, QueryIndexError, TextError
from simvg_core.execution import Execution, cast
from simvg_core.grounder import Grounder
from simvg_core.images import read_frame
from simvg_core.lineworld.diverse import diverse
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.quality import frame_problem
from simvg_core.standing import CompiledTexts, Kept
from simvg_core.words import FastPieces

SHIPPED = Path(__file__).parents[2] / "models/line-small"
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "missing", "bolt", "red", "cap", "blue"]


def grounder(attention="standing", **settings):
    """A tiny random model that finds something everywhere."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    config = SimVGConfig.tiny(
        attention=attention, num_queries=3, tokenizer="fast", score_threshold=0.3, nms_iou=0.5, vocab_size=16
    )
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return Grounder(SimVGForGrounding(config), SimVGProcessor(config, FastPieces(tokenizer)), **settings)


def picture(height=120, width=160, seed=0):
    """A frame with edges, so that it passes the quality check."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), np.ones((height // 8, width // 8, 1), np.uint8))


def close(first, second):
    """Same states and, to float rounding of a batch, the same scores and boxes."""
    return first.state == second.state and np.allclose(first.scores, second.scores, atol=1e-5)


@pytest.mark.parametrize("attention", ["standing", "joint"])
def test_every_text_in_every_frame_in_order(attention):
    """The answer is [frame][text], and a batch equals its parts."""
    model = grounder(attention)
    frames, texts = [picture(seed=i) for i in range(3)], ["missing bolt", "red cap"]
    together = model.ground(frames, texts)
    assert [len(row) for row in together] == [2, 2, 2]
    for frame, row in zip(frames, together, strict=True):
        for text, answer in zip(texts, row, strict=True):
            assert close(model.ground([frame], [text])[0][0], answer)


def test_frames_resized_on_the_device_get_the_same_answers():
    """As on a GPU; here the device is the CPU. To the one grey level that the two may differ by."""
    frames, texts = [picture(240, 320), picture(120, 160, seed=1)], ["missing bolt", "red cap"]
    usual = grounder().ground(frames, texts)
    there = grounder(execution=Execution(resize_on_device=True)).ground(frames, texts)
    for one, other in zip(chain(*usual), chain(*there), strict=True):
        assert one.state == other.state
        np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)
        np.testing.assert_allclose(one.boxes_xyxy_px, other.boxes_xyxy_px, atol=1.5)


@pytest.mark.parametrize("attention", ["standing", "joint"])
def test_frame_that_gives_no_numbers_is_unknown_alone(attention):
    """What the model cannot put into numbers is no "absent", and the other frames of the batch have their answers."""
    model, texts = grounder(attention), ["missing bolt", "red cap"]
    frames = [picture(seed=i) for i in range(2)]
    wanted = model.ground(frames[:1], texts)[0]
    prepared = model.processor.frames

    def spoilt(given):
        inputs = prepared(given)
        inputs.pixel_values[1] = float("nan")
        return inputs

    model.processor.frames = spoilt
    first, second = model.ground(frames, texts)
    assert all(close(one, other) for one, other in zip(first, wanted, strict=True))
    assert {(one.state, one.score, one.reason) for one in second} == {("unknown", None, NO_NUMBER)}


def test_boxes_lie_in_the_frame_best_first():
    """Corners are pixels of the original frame and scores fall."""
    (answer,) = grounder().ground([picture(240, 320)], ["red cap"])[0]
    assert answer.state == "present"
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    for x0, y0, x1, y1 in answer.boxes_xyxy_px:
        assert 0 <= x0 < x1 <= 320
        assert 0 <= y0 < y1 <= 240


def test_a_bare_string_is_not_taken_for_a_list_of_letters():
    """The message shows the list that was meant."""
    with pytest.raises(TextError, match=r"pass a list of texts: \['red cap'\]"):
        grounder().ground([picture()], "red cap")


@pytest.mark.parametrize("attention", ["standing", "joint"])
def test_ids_are_looked_at_before_they_go_to_a_device(attention):
    """A GPU that reads a word beyond the table fails in all that it does later; the meta device takes any number."""
    config = SimVGConfig.tiny(attention=attention, tokenizer="fast", vocab_size=6)
    processor = SimVGProcessor(config, grounder().processor.text.pieces)
    model = Grounder(SimVGForGrounding(config), processor, device="meta")
    with pytest.raises(TextError, match=r"input_ids holds 7; this model has words 0 … 5"):
        model.compile(["red cap"])


def test_thresholds_decide_the_state():
    """A text whose score stays below its threshold is absent, without boxes."""
    answers = grounder().ground([picture()], ["red cap", "red cap"], thresholds=[0.0, 1.0])[0]
    assert [answer.state for answer in answers] == ["present", "absent"]
    assert answers[1].boxes_xyxy_px == ()
    assert answers[0].score == answers[1].score


@pytest.mark.parametrize("attention", ["standing", "joint"])
def test_compiled_queries_change_without_recompiling_the_rest(attention):
    """Adding and removing gives the answers of a fresh set; a copy stays as it was."""
    model = grounder(attention)
    compiled = model.compile(["missing bolt", "red cap"])
    before = compiled.copy()
    compiled.add("blue cap").remove(["missing bolt"])
    assert compiled.texts == ("red cap", "blue cap")
    assert before.texts == ("missing bolt", "red cap")
    assert len(compiled) == 2
    assert compiled.num_bytes > 0
    fresh = model.ground([picture()], ["red cap", "blue cap"])[0]
    for first, second in zip(model.ground([picture()], compiled)[0], fresh, strict=True):
        assert close(first, second)


def test_no_texts_and_no_frames():
    """Nothing to look for, or nothing to look at, is answered with empty rows."""
    model = grounder()
    assert model.ground([picture()], []) == [[]]
    assert model.ground([], ["red cap"]) == []
    emptied = model.compile(["red cap"]).remove(0)
    assert model.ground([picture()], emptied) == [[]]


def test_unusable_frames_are_unknown_and_others_are_not():
    """A black frame among good ones reads unknown with a reason, and never absent."""
    rows = grounder().ground([picture(), np.zeros((90, 90, 3), np.uint8), picture(seed=1)], ["red cap"])
    assert [row[0].state != "unknown" for row in rows] == [True, False, True]
    assert rows[1][0].score is None
    assert "black" in rows[1][0].reason


@pytest.mark.parametrize(
    "frame",
    [
        picture()[:, :, 0],
        np.dstack([picture(), np.full((120, 160), 255, np.uint8)]),
        picture().astype(np.uint16) * 257,
        np.kron(picture(128, 192), np.ones((34, 40, 1), np.uint8)),
    ],
    ids=["grey", "alpha", "16 bit", "8K"],
)
def test_frames_of_other_kinds_are_converted(frame):
    """Greyscale, alpha, 16 bit and very large frames are answered like any other."""
    (answer,) = grounder().ground([frame], ["red cap"])[0]
    assert answer.state in ("present", "absent")


def test_a_frame_of_one_pixel_is_unknown():
    """A 1x1 frame shows nothing."""
    (answer,) = grounder().ground([np.zeros((1, 1, 3), np.uint8)], ["red cap"])[0]
    assert (answer.state, answer.reason) == ("unknown", "frame of 1x1 pixels is too small (shorter side below 16)")


def test_bad_input_is_named():
    """What is no frame or no text gives the error of its kind."""
    model = grounder()
    with pytest.raises(ImageError, match="a frame is a bytes"):
        model.ground([b"jpeg"], ["red cap"])
    with pytest.raises(TextError, match="has no words"):
        model.ground([picture()], ["?"])
    with pytest.raises(QueryIndexError, match="no compiled query 'gear'; there are 1"):
        model.compile(["red cap"]).remove("gear")
    with pytest.raises(QueryIndexError, match="no compiled query at 3"):
        model.compile(["red cap"]).remove(3)
    assert model.unknown_words("red gear") == ["gear"]
    known, strange = model.ground([picture()], ["red cap", "red gear"])[0]
    assert (known.state != "unknown", strange.state, strange.score, strange.boxes_xyxy_px) == (
        True,
        "unknown",
        None,
        (),
    )
    assert strange.reason == "the model does not know 'gear'; use other words"


def test_bad_settings_are_named():
    """Unknown number formats and empty batches are refused."""
    with pytest.raises(ConfigurationError, match="dtype 'float16' is not offered"):
        grounder(dtype="float16")
    with pytest.raises(ConfigurationError, match="max_batch=0"):
        grounder(max_batch=0)


@pytest.mark.parametrize("cast_weights", [False, True])
@pytest.mark.parametrize("attention", ["standing", "joint"])
def test_bfloat16_gives_nearly_the_same_scores(attention, cast_weights):
    """Half precision moves scores by little, with weights in it or without; whatever it is, it is the same model."""
    plain = grounder(attention)
    half = grounder(attention, execution=Execution(dtype="bfloat16", cast_weights=cast_weights))
    exact, fast = (one.ground([picture()], ["red cap"])[0][0] for one in (plain, half))
    assert fast.score == pytest.approx(exact.score, abs=0.05)
    assert fast.score != exact.score
    assert half.model_fingerprint == plain.model_fingerprint


def test_cast_weights_take_half_the_memory_and_leave_no_product_in_float32():
    """Every part of the shipped model is asked: stem, glimpse, gate, heads, with texts that pass the gate."""
    exact = Grounder.from_pretrained(SHIPPED)
    half = Grounder.from_pretrained(SHIPPED, execution=Execution(dtype="bfloat16", cast_weights=True, packed=False))
    kinds: set[torch.dtype] = set()
    for layer in half.model.modules():
        if isinstance(layer, (nn.Linear, nn.LayerNorm, nn.Conv2d)):
            layer.register_forward_hook(lambda _, given, out: kinds.update({given[0].dtype, out.dtype}))
    frame = read_frame(min((SHIPPED.parents[1] / "benchmarks/line/val/images").glob("*.jpg")))
    texts = [ask.text for ask in diverse(half.gate_texts or 0, 1)]
    wanted, found = (one.ground([frame], texts, 0.4)[0] for one in (exact, half))
    assert kinds == {torch.bfloat16}
    assert sum(one.state == other.state for one, other in zip(wanted, found, strict=True)) >= len(texts) - 2
    assert {one.state for one in found} == {"present", "absent"}
    sizes = [one.compile(texts).num_bytes for one in (exact, half)]  # ids, masks and what is counted in float32 stay
    assert sizes[1] < 0.55 * sizes[0]


def test_cast_weights_meet_no_other_numbers_on_the_way_of_a_gpu():
    """Some steps are done in another way where the device is no CPU; on "meta" they are checked without one."""
    model = SimVGForGrounding.from_pretrained(SHIPPED).eval()
    texts = SimVGProcessor.from_pretrained(SHIPPED).texts(["red cap", "missing bolt"])
    with torch.inference_mode():
        cast(model, torch.bfloat16)
        ready = model.compile_queries(texts.input_ids, texts.attention_mask).texts
        tensors = (ready.input_ids, ready.attention_mask, ready.keys, ready.values)
        ready = CompiledTexts(*(part.to("meta") for part in tensors), Kept(*(part.to("meta") for part in ready.kept)))
        pixels = torch.empty(3, 3, *[model.config.image_size] * 2, device="meta")
        model.to("meta")
        assert ask_pairs(model, ready, see(model, pixels)).boxes.shape[:2] == (3, 2)
        model.float()
        with pytest.raises(RuntimeError, match="expected scalar type"):
            ask_pairs(model, ready, see(model, pixels))


def test_folder_round_trip_and_fingerprint(tmp_path):
    """A saved model answers the same; its fingerprint follows weights and settings."""
    model = grounder()
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    again = Grounder.from_pretrained(tmp_path)
    assert close(model.ground([picture()], ["red cap"])[0][0], again.ground([picture()], ["red cap"])[0][0])
    assert len(again.model_fingerprint) == 12
    (tmp_path / "evaluation.json").write_text("{}")  # what was measured of a model is no part of it
    assert Grounder.from_pretrained(tmp_path).model_fingerprint == again.model_fingerprint
    again.config.score_threshold = 0.9
    again.processor.config.score_threshold = 0.9
    again.processor.save_pretrained(tmp_path)
    assert Grounder.from_pretrained(tmp_path).model_fingerprint != again.model_fingerprint


def test_broken_folders_are_named(tmp_path):
    """Missing and truncated weights give clear errors."""
    model = grounder()
    model.processor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        Grounder.from_pretrained(tmp_path)
    other = SimVGForGrounding(SimVGConfig.tiny(num_hidden_layers=2, vocab_size=16, num_queries=3))
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"do not fit its config\.json: .*missing_keys.*layers\.2"):
        Grounder.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Grounder.from_pretrained(tmp_path)


def _blurred(sigma_share):
    import cv2

    frame = picture(480, 640)
    return cv2.GaussianBlur(frame, (0, 0), sigma_share * 640)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (np.zeros((100, 100, 3), np.uint8), "black"),
        (np.full((100, 100, 3), 255, np.uint8), "blown out"),
        (np.full((100, 100, 3), 90, np.uint8), "flat surface"),
        (_blurred(0.1), "blurred"),
        (np.zeros((8, 300, 3), np.uint8), "too small"),
        (picture(), None),
        (_blurred(0.004), None),
    ],
    ids=["black", "white", "flat", "blurred", "tiny", "good", "slightly soft"],
)
def test_frame_quality(frame, reason):
    """Frames a person could not judge are named; others pass."""
    problem = frame_problem(frame)
    assert (problem is None) if reason is None else (reason in problem)

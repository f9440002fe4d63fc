"""The real model behind a worker, tiny and with random weights: what is asked is answered, frame by frame."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from consumers.grounding import engine as engine_module
from consumers.grounding.decode import decode
from consumers.grounding.engine import EngineName, GrounderEngine, load_engine
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from infra.contracts import Delay, State
from infra.errors import SettingsError
from simvg_core import asking
from simvg_core.configuration import SimVGConfig
from simvg_core.edge.graphs import Precision
from simvg_core.grounder import Grounder
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.words import FastPieces
from tests.consumers.grounding.conftest import Line

SHIPPED = Path(__file__).parents[3] / "models" / "line-small"
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "missing", "bolt", "red", "cap", "blue"]


def make_engine(attention: str = "standing", **settings: object) -> GrounderEngine:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    config = SimVGConfig.tiny(attention=attention, num_queries=3, tokenizer="fast", vocab_size=16, **settings)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    grounder = Grounder(SimVGForGrounding(config), SimVGProcessor(config, FastPieces(tokenizer)), check_quality=False)
    return GrounderEngine(grounder)


def picture(seed: int = 0) -> Pixels:
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return np.asarray(np.kron(blocks, np.ones((15, 20, 1), np.uint8)), np.uint8)


def ground(engine: GrounderEngine, views: list[Pixels], texts: Sequence[Sequence[str]]) -> list[dict[str, Finding]]:
    """Every score makes a difference."""
    return engine.ground(views, [dict.fromkeys(words, 0.0) for words in texts])


def test_nothing_to_compile() -> None:
    """An empty query set is compiled, and an empty batch answered."""
    engine = make_engine()
    assert engine.compile([]) == {}
    assert ground(engine, [], []) == []
    assert ground(engine, [picture()], [[]]) == [{}]


@pytest.mark.parametrize("attention", ["standing", "joint"])
def test_each_view_is_asked_its_own_texts(attention: str) -> None:
    """Views of one batch may be asked different texts; the answers are those of the model asked alone."""
    engine = make_engine(attention)
    engine.compile(["missing bolt", "red cap", "blue cap"])
    views = [picture(0), picture(1), picture(2)]
    asked = [["missing bolt", "red cap"], ["blue cap"], ["missing bolt", "red cap"]]
    together = ground(engine, views, asked)
    assert [sorted(answer) for answer in together] == [
        ["missing bolt", "red cap"],
        ["blue cap"],
        ["missing bolt", "red cap"],
    ]
    for view, texts, answer in zip(views, asked, together, strict=True):
        for text in texts:
            alone = ground(engine, [view], [[text]])[0][text]
            assert answer[text].score == pytest.approx(alone.score, abs=1e-5)
            assert np.allclose(answer[text].boxes, alone.boxes, atol=1e-4)


def test_the_order_of_a_question_does_not_matter() -> None:
    """Each text gets its own answer, in whatever order the texts are named."""
    engine = make_engine()
    engine.compile(["red cap", "blue cap", "missing bolt"])
    names = ["red cap", "missing bolt", "blue cap"]
    asked, turned = (ground(engine, [picture()], [order])[0] for order in (names, names[::-1]))
    assert asked == turned
    for name in names:
        assert asked[name].score == pytest.approx(ground(engine, [picture()], [[name]])[0][name].score, abs=1e-5)


def test_boxes_are_normalised_and_scored() -> None:
    """Boxes are xyxy within 0..1, best first, each with its score; the best is the answer's."""
    engine = make_engine()
    engine.compile(["red cap"])
    found = ground(engine, [picture()], [["red cap"]])[0]["red cap"]
    assert found.state is State.PRESENT and len(found.boxes) == len(found.box_scores) > 0
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in found.boxes)
    assert found.box_scores[0] == pytest.approx(found.score)
    assert list(found.box_scores) == sorted(found.box_scores, reverse=True)


def test_texts_the_model_cannot_take_are_named() -> None:
    """Unknown words and over-long texts are refused with the reason; the rest is compiled."""
    engine = make_engine()
    long = " ".join(["red"] * 60)
    refused = engine.compile(["red cap", "flux capacitor", long])
    assert refused["flux capacitor"] == "the model does not know 'flux', 'capacitor'; use other words"
    assert refused[long].startswith("the model reads no more than the words before 'red red")
    assert set(refused) == {"flux capacitor", long}
    assert ground(engine, [picture()], [["red cap"]])[0]["red cap"].score is not None


def test_texts_of_sets_long_gone_may_still_be_asked() -> None:
    """Frames on their way are answered however often the queries change meanwhile, as before."""
    engine = make_engine()
    engine.compile(["missing bolt", "red cap"])
    before = ground(engine, [picture()], [["missing bolt", "red cap"]])
    for _ in range(5):
        engine.compile(["red cap"])
        found = ground(engine, [picture()], [["missing bolt", "red cap"]])
        assert found[0]["missing bolt"].score == pytest.approx(before[0]["missing bolt"].score, abs=1e-5)
    assert engine.memory.texts == 1


def test_views_with_different_texts_share_the_frame_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass for a batch of cameras that are asked different things; each gets the answers of its own texts."""
    engine = make_engine()
    engine.compile(["red cap", "missing bolt", "blue cap"])
    asked = [["red cap"], ["missing bolt", "red cap"], ["red cap"], ["blue cap"]]
    views = [picture(seed) for seed in range(4)]
    alone = [ground(engine, [view], [words])[0] for view, words in zip(views, asked, strict=True)]
    batches, see = [], asking.see
    monkeypatch.setattr(asking, "see", lambda model, pixels: batches.append(len(pixels)) or see(model, pixels))
    together = ground(engine, views, asked)
    assert batches == [4]
    for one, other in zip(together, alone, strict=True):
        assert one.keys() == other.keys()
        assert all(one[text].score == pytest.approx(other[text].score, abs=1e-5) for text in one)


def test_selections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of many cameras, and the shares of one that are asked under load, do not fill the memory."""
    monkeypatch.setattr("consumers.grounding.engine.SELECTED_BYTES", 1)
    engine = make_engine()
    texts = [" ".join(words) for words in itertools.product(WORDS[4:], repeat=2)]
    engine.compile(texts)
    whole = engine.memory
    assert (whole.texts, whole.selected_bytes) == (len(texts), 0) and whole.text_bytes > 0
    for left_out in texts:
        ground(engine, [picture()], [[text for text in texts if text != left_out]])
        assert engine.memory.selected_bytes <= whole.text_bytes
    ground(engine, [picture()], [texts])
    assert engine.memory.selected_bytes <= whole.text_bytes


def test_five_thousand_queries_are_answered() -> None:
    """Each gets its own answer: that of the query asked alone, wherever in the set it stands."""
    engine = make_engine()
    known = [*WORDS[4:], "flux"]  # six words make 7,776 texts of five
    texts = [" ".join(words) for words in itertools.islice(itertools.product(known, repeat=5), 5000)]
    refused = engine.compile(texts)
    asked = [text for text in texts if text not in refused]
    assert all("flux" in text for text in refused) and len(asked) > 2000
    engine.compile([*asked, *(f"{text} cap" for text in asked)])
    asked = [*asked, *(f"{text} cap" for text in asked)]
    assert len(asked) >= 5000
    found = ground(engine, [picture()], [asked])[0]
    assert sorted(found) == sorted(asked)
    for text in (asked[0], asked[len(asked) // 2], asked[-1]):
        assert found[text].score == pytest.approx(ground(engine, [picture()], [[text]])[0][text].score, abs=1e-5)


def test_an_8k_frame_is_judged_like_a_small_one() -> None:
    """7680×4320 pixels, the most a worker decodes, of the same scene: the same answer, boxes as shares of the frame.

    It is halved before it is made smaller, each time to whole grey levels.
    """
    engine = make_engine(resize="area")
    engine.compile(["red cap"])
    blocks = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    small, large = (
        np.asarray(np.kron(blocks, np.ones((height, width, 1), np.uint8)), np.uint8)
        for height, width in ((12, 12), (540, 960))
    )
    assert large.shape == (4320, 7680, 3) and engine.problem(large) is None
    first, second = (ground(engine, [view], [["red cap"]])[0]["red cap"] for view in (small, large))
    assert second.score == pytest.approx(first.score, abs=2e-3)
    assert np.allclose(second.boxes, first.boxes, atol=1e-3)


STORED = {
    "greyscale": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
    "16 bit": lambda frame: frame.astype(np.uint16) * 257,
    "greyscale of 16 bit": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257,
    "alpha": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA),
}


@pytest.mark.parametrize("composed", [False, True])
def test_what_is_asked_in_parts_can_be_told(composed: bool) -> None:
    """Of a model that asks a text as it stands, and of a text without parts, there is nothing to tell."""
    engine = make_engine(composed_answers=composed)
    assert engine.reading("missing bolt") is None
    assert engine.reading("red cap left of the bolt") == ("“red cap”, left of “bolt”" if composed else None)


def test_a_refused_text_is_not_asked_in_its_parts() -> None:
    """Over tiles its parts may be words that the model knows; the text is refused as it stands."""
    engine = make_engine(composed_answers=True)
    assert set(engine.parts("red cap left of the bolt", 0.4)) == {"red cap", "bolt"}
    for text in ("missing bolt, red cap left of the blue cap", "leftmost bolt is missing", "no cap left of the bolt"):
        assert set(engine.parts(text, 0.4)) == {text}
        assert text in engine.compile([text])


def test_a_text_says_how_many_boxes_there_are_at_most() -> None:
    """Where the model's answers are counted."""
    assert make_engine(counted_answers=True).at_most("two red cap") == 2
    assert make_engine(counted_answers=True).at_most("red cap") is None
    assert make_engine(counted_answers=False).at_most("two red cap") is None


def test_of_a_frame_without_the_pixels_that_the_model_averages_it_says_the_same() -> None:
    """The model's side is 64 pixels. One that interpolates gets all of them."""
    frame = np.asarray(cv2.resize(picture(1), (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    engine = make_engine(resize="area", image_size=64)
    engine.compile(["missing bolt", "red cap"])
    small = engine.reduced(frame)
    assert small.shape == (120, 160, 3)
    one, two = ground(engine, [frame, small], [["missing bolt", "red cap"]] * 2)
    for text, found in one.items():
        assert found.score == pytest.approx(two[text].score, abs=1e-6)
        np.testing.assert_allclose(found.boxes, two[text].boxes, atol=1e-5)
    assert make_engine(resize="bilinear", image_size=64).reduced(frame) is frame


@pytest.mark.parametrize("kind", STORED)
def test_frames_of_other_kinds_are_answered_like_their_colour_picture(kind: str) -> None:
    """Decoded as the worker does, a frame without colours, of more bits or with alpha gives the answer of its picture
    in 8-bit colour."""
    engine = make_engine()
    engine.compile(["red cap", "missing bolt"])
    frame = picture()
    if "greyscale" in kind:
        frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    message = bytes(cv2.imencode(".png", STORED[kind](frame))[1])
    height, width = frame.shape[:2]
    view = decode(message, width=width, height=height, max_pixels=height * width)
    assert view.dtype == np.uint8 and view.shape == frame.shape
    given, usual = (ground(engine, [one], [["red cap", "missing bolt"]])[0] for one in (view, frame))
    assert given == usual and engine.problem(view) is None


def test_a_frame_of_one_pixel_is_no_ground_for_an_answer() -> None:
    """It is decoded and named as a problem, so that every query is unknown there; the model itself does not fail."""
    engine = make_engine()
    engine.compile(["red cap"])
    message = bytes(cv2.imencode(".png", np.full((1, 1, 3), 90, np.uint8))[1])
    view = decode(message, width=1, height=1, max_pixels=100)
    assert "1x1 pixels is too small" in (engine.problem(view) or "")
    assert 0 <= (ground(engine, [view], [["red cap"]])[0]["red cap"].score or 0) <= 1


def test_black_frame_has_a_problem() -> None:
    """A frame that nobody could judge is named; a usable one is not."""
    engine = make_engine()
    assert "black" in (engine.problem(np.zeros((120, 160, 3), np.uint8)) or "")
    assert engine.problem(picture()) is None


def test_missing_model_is_a_clear_error(tmp_path: Path) -> None:
    """A folder without a model is named in the error."""
    with pytest.raises(SettingsError, match=r"model .*nowhere cannot be loaded"):
        load_engine(tmp_path / "nowhere", device="cpu", precision="float32", batch_size=1, threads=None)


@pytest.mark.parametrize(
    ("precision", "missing", "chosen"),
    [
        pytest.param("float32", (), "onnxruntime", id="float32"),
        pytest.param("float32", ("torch", "openvino"), "onnxruntime", id="float32 on an edge box"),
        pytest.param("int8", (), "onnxruntime", id="int8"),
        pytest.param("int8", ("torch", "openvino"), "onnxruntime", id="int8 on an edge box"),
        pytest.param("bfloat16", (), "openvino", id="bfloat16"),
        pytest.param("bfloat16", ("torch",), "openvino", id="bfloat16 without torch"),
        pytest.param("bfloat16", ("openvino",), "torch", id="bfloat16 without OpenVINO"),
    ],
)
def test_an_exported_model_is_run_by_what_is_fastest_there(
    precision: Precision, missing: tuple[str, ...], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, of what is installed: docs/benchmarks/engines.md."""
    _hide(monkeypatch, missing)
    assert engine_module._choose(SHIPPED, "cpu", precision) == chosen


def _hide(monkeypatch: pytest.MonkeyPatch, missing: Sequence[str]) -> None:
    """Meanwhile these libraries are not found."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else real(name))


def test_what_cannot_run_so_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that has not the numbers or the device asked for, and numbers that nothing installed has: never others
    in their place."""

    def load(engine: EngineName, device: str, precision: Precision) -> GrounderEngine:
        return load_engine(SHIPPED, engine=engine, device=device, precision=precision, batch_size=1, threads=1)

    with pytest.raises(
        SettingsError, match="'onnxruntime' runs in float32 or int8, not in bfloat16; choose --engine o"
    ):
        load("onnxruntime", "cpu", "bfloat16")
    for engine in ("openvino", "torch"):
        with pytest.raises(SettingsError, match=f"'{engine}' does not run in int8; choose --engine onnxruntime"):
            load(engine, "cpu", "int8")
    with pytest.raises(SettingsError, match="'torch' does not run in int8"):
        load("auto", "cuda", "int8")
    with pytest.raises(SettingsError, match="'openvino' runs on the CPU, not on 'cuda'; choose --engine torch"):
        load("openvino", "cuda", "bfloat16")
    _hide(monkeypatch, ("torch", "openvino"))
    with pytest.raises(SettingsError, match=r"bfloat16.* needs OpenVINO or torch, and neither is installed"):
        load("auto", "cpu", "bfloat16")
    with pytest.raises(SettingsError, match="'cuda' needs torch, which is not installed"):
        load("auto", "cuda", "float32")


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many there are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="device 'cuda:7': there are 1 here, from cuda:0 on"):
        load_engine(SHIPPED, engine="torch", device="cuda:7", precision="float32", batch_size=1, threads=1)


def test_real_model_runs_on_the_line(line: Line, until: Callable[..., None]) -> None:
    """From a query in the registry and frames in Kafka to detections by the model, and an alert at its score."""
    engine = make_engine()
    engine.compile(["red cap"])
    score = ground(engine, [picture()], [["red cap"]])[0]["red cap"].score
    assert score is not None
    line.add("red cap", id="cap", raise_threshold=score / 2, on_delay=Delay(value=2))
    import cv2

    worker = line.start(make_engine())  # type: ignore[arg-type] # any engine will do
    camera = line.camera()
    for _ in range(3):
        camera.send(image=bytes(cv2.imencode(".png", picture())[1]), content_type="image/png")
    (raised,) = line.wait_for_alerts("raised")
    assert raised.query.text == "red cap" and raised.score == pytest.approx(score, abs=1e-3)
    until(lambda: len(line.detections()) == 3)
    assert {d.model for d in line.detections()} == {engine.fingerprint}
    assert worker.totals.balanced

"""Frames to pixels, answers to boxes, texts in batches: as the published pipeline does it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from simvg_core.calibration import calibrated
from simvg_core.checkpoints import config_from_official
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError, ImageError, InputError, TextError
from simvg_core.images import as_bgr, read_frame, resize
from simvg_core.model import SimVGOutput
from simvg_core.preparation import preparation
from simvg_core.processing import SimVGProcessor, to_pixels
from simvg_core.words import clean_text
from tests.simvg_core.dozen_words import fast_pieces, processor

REFERENCE = Path(__file__).parents[1] / "data" / "reference"


@pytest.mark.parametrize("index", [0, 1])
def test_image_pipeline(index):
    """Resizing, channel order and normalisation are the published ones."""
    arrays = np.load(REFERENCE / "image_pipeline_io.npz")
    raw = arrays[f"raw_bgr_{index}"]
    config = SimVGConfig.tiny(image_size=64)
    resized = resize(raw, 64, "bilinear")
    assert np.abs(resized.astype(int) - arrays[f"resized_bgr_{index}"]).max() <= 1
    np.testing.assert_allclose(to_pixels([raw], config)[0].numpy(), arrays[f"tensor_{index}"], atol=1.5 / 57)


def test_frames_of_all_kinds_become_bgr():
    """Grey, alpha, 16 bit and single pixels are converted; colours keep their values."""
    grey = np.full((4, 5), 128, np.uint8)
    assert as_bgr(grey).shape == (4, 5, 3)
    assert as_bgr(grey[:, :, None]).shape == (4, 5, 3)
    assert as_bgr(np.zeros((2, 2, 4), np.uint8)).shape == (2, 2, 3)
    assert as_bgr(np.full((1, 1, 3), 65535, np.uint16)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("frame.jpg", "a frame is a str"),
        (np.zeros((4, 4, 3)), "dtype float64; convert it to uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), r"shape \(4, 1\)|shape \(4,\)"),
    ],
    ids=["text", "floats", "two channels", "no pixels", "one dimension"],
)
def test_what_is_no_frame_is_refused(frame, message):
    """The message names type, dtype or shape."""
    with pytest.raises(ImageError, match=message):
        as_bgr(frame)


def test_no_frames_are_refused():
    """An empty list gives a clear error."""
    with pytest.raises(InputError, match="no frames"):
        processor().frames([])


def official(name):
    """Recorded outputs of a tiny official model and a processor with its settings."""
    arrays = np.load(REFERENCE / f"simvg_tiny_{name}_io.npz")
    config = config_from_official(REFERENCE / f"simvg_tiny_{name}_config.json", score_threshold=0.0)
    outputs = SimVGOutput(
        **{
            key: torch.from_numpy(arrays[f"out.{key}"][-1] if key.startswith("token") else arrays[f"out.{key}"])
            for key in ("token_logits", "token_boxes", "decoder_logits", "decoder_boxes")
        }
    )
    sizes = [(int(h), int(w)) for h, w, _ in arrays["img_shape"]]
    return arrays, SimVGProcessor(config, fast_pieces()), outputs, sizes


@pytest.mark.parametrize("branch", ["token", "decoder"])
def test_referring_comprehension_answers_with_its_best_box(branch):
    """One answer and threshold 0 give the published prediction."""
    arrays, proc, outputs, sizes = official("rec")
    for i, answer in enumerate(proc.post_process_grounding(outputs, sizes, branch=branch)):
        np.testing.assert_allclose(answer.boxes_xyxy_px[:1], arrays[f"out.post.{branch}.boxes"][i : i + 1], atol=2e-3)


@pytest.mark.parametrize("branch", ["token", "decoder"])
def test_generalised_comprehension_keeps_all_boxes_and_scores(branch):
    """Without a threshold all answers come back with the published boxes and scores, best first."""
    arrays, proc, outputs, sizes = official("grec")
    for i, answer in enumerate(proc.post_process_grounding(outputs, sizes, branch=branch)):
        scores, boxes = arrays[f"out.post.{branch}.scores_{i}"], arrays[f"out.post.{branch}.boxes_{i}"]
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(answer.scores, scores[order], atol=2e-6)
        np.testing.assert_allclose(answer.boxes_xyxy_px, boxes[order], atol=2e-3)


def _outputs(scores, boxes):
    """One text with given probabilities and boxes."""
    logit = torch.logit(torch.tensor(scores))
    return SimVGOutput(
        token_logits=torch.stack([logit, torch.zeros_like(logit)], -1)[None], token_boxes=torch.tensor([boxes])
    )


def test_one_string_or_one_array_is_no_list():
    """Letters are not taken for texts, nor rows for frames."""
    with pytest.raises(TextError, match=r"pass a list of texts: \['red cap'\]"):
        processor().texts("red cap")
    with pytest.raises(ImageError, match=r"one array of shape \(4, 5, 3\); pass a list of frames"):
        processor().frames(np.zeros((4, 5, 3), np.uint8))
    assert processor().frames(np.zeros((2, 4, 5, 3), np.uint8)).sizes == [(4, 5)] * 2


def test_no_texts_are_an_empty_batch():
    """A line without queries is no error."""
    batch = processor().texts([])
    assert batch.input_ids.shape == batch.attention_mask.shape == (0, 20)


def test_batches_of_frames_and_texts_equal_singles():
    """Frames of other sizes and texts of other lengths beside it change nothing."""
    rows, proc = np.random.default_rng(0), processor()
    frames = [rows.integers(0, 255, shape, np.uint8) for shape in ((40, 60, 3), (100, 30, 3), (7, 200))]
    texts = ["missing bolt", "red cap left of the bolt", "bolts"]
    together, words = proc.frames(frames), proc.texts(texts)
    for i in range(3):
        alone = proc.frames([frames[i]])
        assert torch.equal(alone.pixel_values[0], together.pixel_values[i])
        assert alone.sizes == [together.sizes[i]]
        assert torch.equal(proc.texts([texts[i]]).input_ids[0], words.input_ids[i])
    scores = torch.randn(3, 4, 2)
    boxes = torch.rand(3, 4, 4)
    every = proc.post_process_grounding(SimVGOutput(token_logits=scores, token_boxes=boxes), together.sizes, 0.4)
    for i, expected in enumerate(every):
        one = SimVGOutput(token_logits=scores[i : i + 1], token_boxes=boxes[i : i + 1])
        (alone,) = proc.post_process_grounding(one, [together.sizes[i]], 0.4)
        assert np.array_equal(alone.boxes_xyxy_px, expected.boxes_xyxy_px)
        assert alone.score == expected.score


@pytest.mark.parametrize("index", [0, 1])
def test_boxes_go_back_to_the_original_frame(index):
    """A box of the resized picture comes out where the recorded annotation lies in the original."""
    arrays = np.load(REFERENCE / "image_pipeline_io.npz")
    resized, loaded = arrays[f"gt_resized_xyxy_{index}"], arrays[f"gt_loaded_xyxy_{index}"]
    side, _, _ = arrays[f"img_shape_{index}"].tolist()
    (size,) = processor().frames([arrays[f"raw_bgr_{index}"]]).sizes
    np.testing.assert_allclose([side / size[1], side / size[0]] * 2, arrays[f"scale_factor_{index}"], rtol=1e-6)
    normal = torch.tensor(resized / side, dtype=torch.float32)
    box = torch.cat([(normal[:2] + normal[2:]) / 2, normal[2:] - normal[:2]]).tolist()
    (answer,) = processor().post_process_grounding(_outputs([0.9], [box]), [size])
    np.testing.assert_allclose(answer.boxes_xyxy_px, [loaded], atol=1e-3)


def test_sizes_and_scores_that_are_no_numbers_are_refused():
    """A frame without pixels, and a model whose weights are broken, do not pass for "absent"."""
    outputs = _outputs([0.5], [[0.5] * 4])
    with pytest.raises(InputError, match=r"target_sizes holds \(0, 10\)"):
        processor().post_process_grounding(outputs, [(0, 10)])
    with pytest.raises(CheckpointError, match="not numbers"):
        processor().post_process_grounding(_outputs([float("nan")], [[0.5] * 4]), [(10, 10)])


def test_no_target_answer():
    """When no score reaches the threshold there are no boxes, but still the score."""
    proc = processor(num_queries=2, score_threshold=0.5)
    (answer,) = proc.post_process_grounding(_outputs([0.3, 0.4], [[0.5, 0.5, 0.2, 0.2]] * 2), [(100, 200)])
    assert len(answer.boxes_xyxy_px) == 0
    assert answer.score == pytest.approx(0.4)


def test_overlapping_boxes_are_merged_and_others_kept():
    """Duplicates of a better box go, boxes elsewhere stay, all in pixels of the frame and clipped to it."""
    proc = processor(num_queries=4, score_threshold=0.5, nms_iou=0.3)
    boxes = [[0.5, 0.5, 0.2, 0.2], [0.51, 0.5, 0.2, 0.2], [0.0, 0.1, 0.2, 0.2], [1.2, 0.5, 0.1, 0.1]]
    (answer,) = proc.post_process_grounding(_outputs([0.8, 0.9, 0.7, 0.99], boxes), [(100, 200)])
    np.testing.assert_allclose(answer.boxes_xyxy_px, [[82, 40, 122, 60], [0, 0, 20, 20]], atol=1e-3)
    np.testing.assert_allclose(answer.scores, [0.9, 0.7], atol=1e-6)


def test_thresholds_per_text_and_their_checks():
    """A list gives every text its own threshold; wrong counts and values are refused."""
    proc = processor(num_queries=1)
    outputs = SimVGOutput(token_logits=torch.zeros(2, 1, 2), token_boxes=torch.full((2, 1, 4), 0.5))
    first, second = proc.post_process_grounding(outputs, [(10, 10)] * 2, threshold=[0.4, 0.6])
    assert (len(first.scores), len(second.scores)) == (1, 0)
    with pytest.raises(InputError, match="3 thresholds for 2 texts"):
        proc.post_process_grounding(outputs, [(10, 10)] * 2, threshold=[0.1, 0.2, 0.3])
    with pytest.raises(InputError, match=r"thresholds 1\.5 must lie in 0 … 1"):
        proc.post_process_grounding(outputs, [(10, 10)] * 2, threshold=1.5)
    with pytest.raises(InputError, match="1 target_sizes for 2"):
        proc.post_process_grounding(outputs, [(10, 10)])


def test_a_branch_that_did_not_run_is_named():
    """Asking for answers of a branch the outputs lack is refused."""
    with pytest.raises(InputError, match='hold no "decoder" branch'):
        processor().post_process_grounding(_outputs([0.5], [[0.5] * 4]), [(10, 10)], branch="decoder")


def test_calibration_is_a_temperature_and_a_bias():
    """Probability = sigmoid(difference / temperature + bias); 1 and 0 give the softmax."""
    logits = torch.tensor([[2.0, -1.0]])
    assert calibrated(logits, SimVGConfig.tiny()).item() == pytest.approx(logits.softmax(-1)[0, 0].item())
    cooled = SimVGConfig.tiny(score_temperature=3.0, score_bias=-1.0)
    assert calibrated(logits, cooled).item() == pytest.approx(0.5)


def test_processor_round_trip(tmp_path):
    """A saved processor reads the same."""
    proc = processor(max_text_tokens=9)
    proc.save_pretrained(tmp_path)
    again = SimVGProcessor.from_pretrained(tmp_path)
    assert again.texts(["red caps"]).input_ids.tolist() == proc.texts(["red caps"]).input_ids.tolist()


def test_a_picture_file_is_read_whole_or_refused(tmp_path):
    """What a cut-off JPEG lacks would be grey; each file that is no picture is named with the remedy."""
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for name in ("a.jpg", "a.png"):
        assert cv2.imwrite(str(tmp_path / name), frame)
        assert read_frame(tmp_path / name).shape == (60, 80, 3)
    assert (read_frame(tmp_path / "a.png") == frame).all()
    whole = (tmp_path / "a.jpg").read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], r"a\.jpg is cut off \(\d+ bytes without a JPEG's end mark\); copy it again"),
        (b"hello", r"not a picture that OpenCV reads \(5 bytes, they begin b'hello'\); give a JPEG or PNG"),
        (b"", "not a picture that OpenCV reads"),
    ):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(ImageError, match=message):
            read_frame(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match=r"cannot be read \(Is a directory\)"):
        read_frame(tmp_path)


def test_a_saved_processor_tells_how_inputs_are_prepared(tmp_path):
    """The file has the size, the means, the text length and the cleaning; a folder without it is read as well."""
    processor(image_size=64, max_text_tokens=9, resize="area").save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    told = json.loads(file.read_text())
    assert (told["size"], told["resize"]) == ({"height": 64, "width": 64}, "area")
    assert told["image_mean"] == [123.675, 116.28, 103.53] and told["image_std"] == [58.395, 57.12, 57.375]
    assert (told["max_text_tokens"], told["text_overflow"]) == (9, "truncate")
    assert clean_text(told["removed_characters"]) == ""
    assert clean_text(told["spaces_instead_of"]) == " " * len(told["spaces_instead_of"])
    assert SimVGProcessor.from_pretrained(tmp_path).config.image_size == 64
    file.write_text(json.dumps({"size": told["size"]}))
    SimVGProcessor.from_pretrained(tmp_path)
    file.unlink()
    assert SimVGProcessor.from_pretrained(tmp_path).config.resize == "area"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"size": {"height": 320, "width": 320}}, ConfigurationError, r"'height': 320.*config\.json it is .*: 64"),
        ({"image_std": [1, 1, 1]}, ConfigurationError, r"image_std=\[1, 1, 1\].*Delete preprocessor_config\.json if"),
        ({"do_center_crop": True}, ConfigurationError, "do_center_crop=True, which no processor of SimVG reads"),
        (None, CheckpointError, r"preprocessor_config\.json cannot be read"),
    ],
    ids=["size", "deviation", "foreign", "broken"],
)
def test_a_file_that_contradicts_the_config_is_refused(change, error, message, tmp_path):
    """Nobody changes one of the two alone and finds that it does not count."""
    processor(image_size=64).save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    told = json.loads(file.read_text())
    file.write_text("{" if change is None else json.dumps(told | change))
    with pytest.raises(error, match=message):
        SimVGProcessor.from_pretrained(tmp_path)


def test_the_shipped_model_tells_how_its_inputs_are_prepared():
    """Its file is the one its config makes."""
    folder = Path(__file__).parents[2] / "models/line-small"
    told = json.loads((folder / "preprocessor_config.json").read_text())
    assert told == preparation(json.loads((folder / "config.json").read_text()))


def test_processor_of_an_empty_folder_is_refused(tmp_path):
    """The message says what a model folder has."""
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        SimVGProcessor.from_pretrained(tmp_path)

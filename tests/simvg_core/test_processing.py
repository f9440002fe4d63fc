"""Words to ids, frames to pixels, answers to boxes: as the published pipeline does it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace

from simvg_core.calibration import calibrated
from simvg_core.checkpoints import config_from_official
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError, ImageError, InputError, TextError
from simvg_core.images import as_bgr, read_frame, resize
from simvg_core.model import SimVGOutput
from simvg_core.preparation import preparation
from simvg_core.processing import SimVGProcessor, to_pixels
from simvg_core.text import TextPacker, read_pieces
from simvg_core.words import FastPieces, clean_text, pack

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
TEXT = json.loads((REFERENCE / "text_preprocess.json").read_text())
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "missing", "bolt", "red", "cap", "##s", "left", "of", "the"]


def fast_pieces():
    """A WordPiece tokenizer of a dozen words."""
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return FastPieces(tokenizer)


def processor(**settings):
    """A processor with the small tokenizer."""
    return SimVGProcessor(SimVGConfig.tiny(tokenizer="fast", **settings), fast_pieces())


@pytest.mark.parametrize(("raw", "cleaned"), TEXT["clean"])
def test_cleaning(raw, cleaned):
    """Texts are cleaned as in training of the published weights."""
    assert clean_text(raw) == cleaned


@pytest.mark.parametrize("row", TEXT["packing"], ids=lambda row: f"{len(row['piece_ids'])} pieces")
def test_packing(row):
    """Pieces are cut, framed and padded as published."""

    class Given:
        def __call__(self, text):
            return row["piece_ids"]

    if row["piece_ids"]:
        packer = TextPacker(SimVGConfig.tiny(max_text_tokens=row["max_token"]), Given())
        batch = packer(["word"])
        assert batch.input_ids[0].tolist() == row["token_ids"]
        assert (1 - batch.attention_mask[0]).tolist() == row["padding_mask"]
    assert pack(row["piece_ids"], row["max_token"]) == [i for i in row["token_ids"] if i != 1]


@pytest.mark.parametrize("text", ["", "   ", "?!", "..."], ids=repr)
def test_text_without_words_is_refused(text):
    """The message shows the text and an example."""
    with pytest.raises(TextError, match="has no words after cleaning; name a thing"):
        processor().texts([text])


def test_text_that_is_no_string_is_refused():
    """The message names the type."""
    with pytest.raises(TextError, match="a text is a int"):
        processor().texts([7])


def test_long_text_is_cut_at_a_word_and_reported():
    """With text_overflow="truncate" the lost words are given."""
    batch = processor(max_text_tokens=5).texts(["red cap left of the bolt", "red"])
    assert batch.truncated == ["of the bolt", ""]
    assert batch.input_ids.tolist() == [[0, 6, 7, 9, 2], [0, 6, 2, 1, 1]]


def test_long_text_is_refused_where_the_model_says_so():
    """With text_overflow="error" the message says what would be cut."""
    with pytest.raises(TextError, match="has 6 tokens, the model reads 3; shorten it, 'of the bolt' would be cut"):
        processor(max_text_tokens=5, text_overflow="error").texts(["red cap left of the bolt"])


def test_unknown_words_are_named():
    """Words without a piece are listed in order."""
    assert processor().unknown_words("missing Zorgle on the red cap") == ["zorgle", "on"]


def test_words_that_training_never_said_are_unknown(tmp_path):
    """Although they have pieces; types with a number in them are none. The list stays with the tokenizer."""
    known = FastPieces(fast_pieces().tokenizer, {"missing": 40, "red": 30, "cap": 25})
    known.save(tmp_path)
    for one in (known, read_pieces(tmp_path, "fast")):
        assert [one.knows(word) for word in ("red", "bolt", "zorgle")] == [True, False, False]
        assert (one.near("mising"), one.near("bolt")) == ("missing", None)
    (tmp_path / "words.json").write_text('["red"]')
    with pytest.raises(CheckpointError, match=r"words\.json must hold words and how often"):
        read_pieces(tmp_path, "fast")
    (tmp_path / "words.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"words\.json cannot be read"):
        read_pieces(tmp_path, "fast")


def test_padding_to_the_longest():
    """A batch can be padded to its longest text only."""
    assert processor().texts(["red cap", "bolts"], pad_to_longest=True).attention_mask.tolist() == [[1] * 4, [1] * 4]


def test_special_tokens_must_sit_where_packing_puts_them():
    """A tokenizer with other special ids is refused."""
    with pytest.raises(CheckpointError, match="special tokens the ids"):
        FastPieces(Tokenizer(WordPiece({"<unk>": 0}, unk_token="<unk>")))


@pytest.fixture(scope="module")
def spm_folder(tmp_path_factory):
    """A folder with a small SentencePiece model under the name transformers expects."""
    folder = tmp_path_factory.mktemp("spm")
    lines = ["missing bolt on the left plate", "red cap near the blue connector", "a scratch below the label"] * 20
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder


def test_published_tokenizer_shifts_sentencepiece_ids_by_one(spm_folder, tmp_path):
    """XLM-R ids are SentencePiece ids + 1, also after saving and loading."""
    pieces = read_pieces(spm_folder, "xlm_roberta")
    model = sentencepiece.SentencePieceProcessor(model_file=str(spm_folder / "sentencepiece.bpe.model"))
    text = "missing bolt near the label"
    expected = [i + 1 for i in model.encode(text)]
    assert 3 not in expected
    assert pieces(text) == expected
    pieces.save(tmp_path)
    assert read_pieces(tmp_path, "xlm_roberta")(text) == expected


@pytest.mark.parametrize(
    ("kind", "message"), [("fast", "has no tokenizer.json"), ("xlm_roberta", "has no sentencepiece.bpe.model")]
)
def test_missing_tokenizer_is_named(kind, message, tmp_path):
    """The message says which file belongs there."""
    with pytest.raises(CheckpointError, match=message):
        read_pieces(tmp_path, kind)


def test_broken_tokenizer_file_is_named(tmp_path):
    """A tokenizer.json that is no tokenizer gives a clear error."""
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a readable tokenizer"):
        read_pieces(tmp_path, "fast")


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

"""An answer is explained by the patches and words it rests on."""

import itertools
import json
import random
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import simvg
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError, ImageError, InputError
from simvg_core.explain import MAPS
from simvg_core.explain_picture import weights_of_words
from simvg_core.grounder import Grounder
from simvg_core.model import SimVGForGrounding

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "models" / "line-small"
BENCHMARK = REPOSITORY / "benchmarks" / "line" / "test"
PICTURE = BENCHMARK / "images" / "000000.jpg"
IDS = torch.tensor([[0, 9, 12, 2], [0, 7, 2, 1]])
MASK = (IDS != 1).long()


@pytest.fixture(scope="module")
def grounder():
    """The shipped model."""
    torch.set_num_threads(1)
    return Grounder.from_pretrained(MODEL)


def small(**settings):
    """A random model of 96×96 pixels."""
    torch.manual_seed(0)
    return SimVGForGrounding(SimVGConfig.tiny(**settings)).eval()


def why(model, seed=0, **settings):
    """An explanation of two texts in two random pictures."""
    return model.explain(
        torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(seed)), IDS, MASK, **settings
    )


MODELS = {
    "joint": {"num_queries": 3},
    "joint, first stage": {"loss_weights": {"decoder": 1.0}},
    "standing": {"attention": "standing", "own_object_expert": True},
    "standing, pointer": {"attention": "standing", "box_head": "pointer", "num_queries": 3, "num_object_tokens": 3},
}


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_the_explained_pass_is_the_models_own(settings):
    """Logits and boxes are those of the forward pass, in both attention modes and for every head."""
    model = small(**settings)
    found = why(model)
    with torch.no_grad():
        pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        out = model(pixels, IDS, MASK)
    decoder = model.config.answer_branch == "decoder"
    logits, boxes = (out.decoder_logits[-1], out.decoder_boxes[-1]) if decoder else (out.token_logits, out.token_boxes)
    rows = torch.arange(2)
    torch.testing.assert_close(found.logits, logits[rows, found.answers], atol=2e-5, rtol=0)
    torch.testing.assert_close(found.boxes_cxcywh, boxes[rows, found.answers], atol=2e-5, rtol=0)
    assert torch.equal(found.answers, (logits[..., 0] - logits[..., 1]).argmax(1))


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_shares_sum_to_one_and_padding_has_none(settings):
    """Every map is a distribution over patches and real words."""
    model = small(**settings)
    found = why(model)
    for image, words in ((found.image, found.words), (found.image_gradient, found.words_gradient)):
        assert (image >= 0).all() and (words >= 0).all()
        torch.testing.assert_close(image.sum(1) + words.sum(1), torch.ones(2))
        assert words[1, 3] == 0
    rest = 1 - found.image_layers.sum(-1) - found.word_layers.sum(-1)
    assert ((rest > -1e-5) & (rest < 1)).all()
    assert (found.word_layers[:, 1, 3] == 0).all()
    if model.config.box_head == "pointer":
        torch.testing.assert_close(found.pointer.sum(1), torch.ones(2))
    assert found.map("attention").shape == (2, 3, 3)


def test_the_model_is_left_as_it_was():
    """No gradient, hook or weight stays behind, also when called where gradients are off."""
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        first = why(model)
    second = why(model)
    assert torch.equal(first.image_gradient, second.image_gradient)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_each_text_is_explained_on_its_own():
    """A batch equals singles."""
    model = small(attention="standing")
    pixels = torch.randn(2, 3, 96, 96)
    together = model.explain(pixels, IDS, MASK)
    alone = model.explain(pixels[1:], IDS[1:], MASK[1:])
    torch.testing.assert_close(alone.image, together.image[1:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.image_gradient, together.image_gradient[1:], atol=1e-5, rtol=1e-4)


def test_a_chosen_answer_is_explained():
    """Answers other than the best one can be asked for; what does not exist is named."""
    model = small(num_queries=3)
    assert why(model, answers=torch.tensor([2, 0])).answers.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"answers \[3, 0\] must name one of 3 answers"):
        why(model, answers=torch.tensor([3, 0]))
    with pytest.raises(InputError, match="2 images but 1 texts"):
        model.explain(torch.zeros(2, 3, 96, 96), IDS[:1])
    with pytest.raises(ConfigurationError, match=r"call model\.eval\(\) first"):
        why(model.train())


def test_maps_that_do_not_exist_are_named():
    """Unknown names, layers and heads are refused."""
    found = why(small())
    with pytest.raises(InputError, match="map 'heat' is not known; use gradient, attention, pointer"):
        found.map("heat")
    with pytest.raises(InputError, match=r'layer 3 of map "attention" does not exist; "attention" has layers 0 … 2'):
        found.map("attention", 3)
    with pytest.raises(InputError, match="the model has no pointer head"):
        found.map("pointer")
    assert torch.equal(found.map("attention", 1).flatten(1), found.image_layers[1])


@pytest.fixture(scope="module")
def gains(grounder):
    """Per map, of forty queries of the line benchmark: the map's share inside the box, as a multiple of the box's share
    of the picture. Queries with one target that covers less than a tenth of the picture, chosen by a seed."""
    truth = json.loads((BENCHMARK / "annotations.json").read_text())
    images = {image["id"]: image for image in truth["images"]}
    boxes = {one["id"]: one["bbox"] for one in truth["annotations"]}
    single = [
        (images[one["image_id"]], one["text"], boxes[one["annotation_ids"][0]])
        for one in truth["expressions"]
        if len(one["annotation_ids"]) == 1
    ]
    small = [one for one in single if one[2][2] * one[2][3] < one[0]["width"] * one[0]["height"] / 10]
    found = {name: [] for name in MAPS}
    for image, text, (x, y, w, h) in random.Random(4).sample(small, 40):
        frame = cv2.imread(str(BENCHMARK / "images" / image["file_name"]))
        ids = grounder.processor.texts([text])
        pixels = grounder.processor.frames([frame]).pixel_values
        explanation = grounder.model.explain(pixels, ids.input_ids, ids.attention_mask)
        inside = np.zeros(frame.shape[:2], np.float32)
        inside[y : y + h, x : x + w] = 1
        for name in MAPS:
            grid = explanation.map(name)[0].numpy()
            share = cv2.resize(inside, grid.shape, interpolation=cv2.INTER_AREA)
            found[name].append(float((grid * share).sum() / grid.sum() / inside.mean()))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize(("name", "median"), [("pointer", 8), ("gradient", 6), ("attention", 3)])
def test_maps_of_the_shipped_model_lie_on_what_was_asked_for(name, median, gains):
    """Three of four queries have over three times chance inside their box, and half of them much more."""
    assert len(gains[name]) == 40
    assert (gains[name] > 3).mean() >= 0.75, np.sort(gains[name])
    assert np.median(gains[name]) > median


def test_the_words_that_decide_weigh_most(grounder):
    """The thing's name moves the score more than "the" does."""
    frame = cv2.imread(str(PICTURE))
    texts = grounder.processor.texts(["missing bolt"])
    found = grounder.model.explain(grounder.processor.frames([frame]).pixel_values, texts.input_ids)
    weights = weights_of_words("missing bolt", grounder.processor.text.pieces, found.words_gradient[0])
    assert [word for word, _ in weights] == ["missing", "bolt"]
    assert sum(weight for _, weight in weights) == pytest.approx(1)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `simvg explain …`; exit code and output in one line."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["simvg", "explain", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            simvg.main()
        captured = capsys.readouterr()
        return ended.value.code, " ".join((captured.out + captured.err).split())

    return run


@pytest.mark.parametrize("flags", [[], *(["--map", name] for name in MAPS), ["--map", "attention", "--layer", "1"]])
def test_the_command_draws_and_prints(flags, command, tmp_path):
    """The picture shows a map and a bar per word; words and weights are printed as well."""
    picture = PICTURE
    code, text = command(MODEL, picture, "missing bolt", "--out", tmp_path / "why.png", *flags)
    assert code == 0, text
    assert "missing" in text and "score" in text
    drawn, plain = cv2.imread(str(tmp_path / "why.png")), cv2.imread(str(picture))
    assert drawn.shape[0] > drawn.shape[1] * plain.shape[0] / plain.shape[1]
    enlarged = cv2.resize(plain, (drawn.shape[1], round(drawn.shape[1] * plain.shape[0] / plain.shape[1])))
    assert np.abs(drawn[: len(enlarged)].astype(int) - enlarged).max() > 50


def test_of_a_text_in_parts_the_part_is_explained_whose_answer_is_the_best(command, tmp_path):
    """The box is the whole text's: the hole left of the label, not the surest hole."""
    hole, out = REPOSITORY / "benchmarks" / "line" / "val" / "images" / "000061.jpg", ("--out", tmp_path / "why.png")
    code, text = command(MODEL, hole, "hole to the left of the white label", *out)
    assert code == 0, text
    assert "those of 'hole'" in text
    place = [float(number) for number in re.search(r"best box ([\d, ]+) px", text)[1].split(",")]
    assert place == pytest.approx([36, 91, 68, 122], abs=8)
    _, other = command(MODEL, hole, "hole to the right of the white label", *out)
    assert float(re.search(r"best box (\d+)", other)[1]) > place[2]
    assert "in parts" not in command(MODEL, hole, "hole", *out)[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("flux capacitor", "the model does not know 'flux'"),
        ("[red] cap", "the model does not know '[red]'"),
        ("missing bolt", "black"),
    ],
    ids=["unknown words", "marks of the terminal", "black picture"],
)
def test_what_a_worker_calls_unknown_is_called_so(text, reason, command, tmp_path):
    """Whatever the score: the model takes an unknown word for any other. Every word is printed as it is."""
    picture = PICTURE
    if reason == "black":
        picture = tmp_path / "black.png"
        cv2.imwrite(str(picture), np.zeros((480, 640, 3), np.uint8))
    code, printed = command(MODEL, picture, text, "--out", tmp_path / "why.png")
    assert code == 0, printed
    assert "unknown, score" in printed and re.search(rf"unknown: .*{re.escape(reason)}", printed)
    assert all(re.search(rf"{re.escape(word)} [01]\.\d\d", printed) for word in text.split())


def test_a_sheet_shows_every_map_and_the_words_of_each_layer(command, tmp_path):
    """Four layers, joined, gradient and pointer on one page, two rows of four, above the table word × layer."""
    out = tmp_path / "sheet.png"
    code, text = command(MODEL, PICTURE, "missing bolt", "--out", out, "--map", "sheet")
    assert code == 0, text
    assert "word 0 1 2 3 joined gradient" in text
    weights = re.search(r"missing ((?:[01]\.\d\d ?){6})bolt ((?:[01]\.\d\d ?){6})", text)
    columns = zip(*(map(float, row.split()) for row in weights.groups()), strict=True)
    assert all(sum(column) == pytest.approx(1, abs=0.011) for column in columns)
    drawn = cv2.imread(str(out))
    assert drawn.shape[1] == 4 * 320
    side = round(320 * cv2.imread(str(PICTURE)).shape[0] / cv2.imread(str(PICTURE)).shape[1])
    strip = (drawn.shape[0] - 2 * side - (4 * 22 + 16)) // 2  # the name above each picture
    tiles = [
        drawn[row * (strip + side) + strip : (row + 1) * (strip + side), column * 320 : (column + 1) * 320]
        for row in range(2)
        for column in range(4)
    ]
    assert (tiles[7] == tiles[7][0, 0]).all()  # seven maps leave one place empty
    assert not any(np.array_equal(one, other) for one, other in itertools.combinations(tiles, 2))


def test_a_sheet_is_drawn_from_the_explanation(grounder):
    """Its maps are those of `Explanation`; a pointer, which looks at no word, has no column."""
    from simvg_core.explain_picture import SHEET, explained, word_table

    why = explained(MODEL, PICTURE, "missing bolt", SHEET)
    names = [*(f"attention, layer {layer}" for layer in range(4)), "attention, joined", "gradient", "pointer"]
    assert [seen.name for seen in why.maps] == names
    texts = grounder.processor.texts(["missing bolt"])
    pixels = grounder.processor.frames([cv2.imread(str(PICTURE))]).pixel_values
    found = grounder.model.explain(pixels, texts.input_ids, texts.attention_mask)
    np.testing.assert_allclose(why.maps[2].map, found.map("attention", 2)[0], atol=1e-6)
    heads, rows = word_table(why)
    assert heads == ["layer 0", "layer 1", "layer 2", "layer 3", "joined", "gradient"]
    assert [word for word, _ in rows] == ["missing", "bolt"] and all(len(weights) == 6 for _, weights in rows)


@pytest.mark.parametrize("map_", ["gradient", "sheet"])
@pytest.mark.parametrize(("height", "width"), [(5000, 2), (2, 5000)], ids=["tall", "wide"])
def test_a_picture_of_extreme_aspect_is_drawn_small(height, width, map_, command, tmp_path):
    """Enlarged to a readable width, two columns of pixels would be a picture of gigabytes."""
    cv2.imwrite(str(tmp_path / "narrow.png"), np.full((height, width, 3), 40, np.uint8))
    out = tmp_path / "why.png"
    code, text = command(MODEL, tmp_path / "narrow.png", "missing bolt", "--out", out, "--map", map_)
    assert code == 0, text
    drawn = cv2.imread(str(out))
    words = 3 * 22 + 16
    expected = {
        ("gradient", 2): (4096 + words, 480),
        ("gradient", 5000): (2 + words, 4096),
        ("sheet", 2): (2 * (640 + 38) + 22 + words, 1280),
        ("sheet", 5000): (2 * (1 + 38) + 22 + words, 1280),
    }
    assert drawn.shape[:2] == expected[map_, width]
    if height == 5000:  # centred on paper
        left = 480 if map_ == "gradient" else 320
        ink = np.abs(drawn[60:600, :left].astype(int) - 250).max(axis=(0, 2)).nonzero()[0]
        assert left / 2 - 4 < ink.min() <= ink.max() < left / 2 + 4


def test_a_picture_without_a_name_goes_beside_where_one_is(command, tmp_path, monkeypatch):
    """Without --out the picture is written into the current folder, after the image's name, and told."""
    monkeypatch.chdir(tmp_path)
    code, text = command(MODEL, PICTURE, "missing bolt")
    assert code == 0, text
    assert "picture written to 000000-why.png" in text
    assert [path.name for path in tmp_path.iterdir()] == ["000000-why.png"]


@pytest.mark.parametrize(
    ("image", "text", "out", "flags", "message"),
    [
        ("none.jpg", "missing bolt", "why.png", [], "none.jpg cannot be read (No such file or directory)"),
        ("../annotations.json", "missing bolt", "why.png", [], "is not a picture that OpenCV reads"),
        ("000000.jpg", "?!", "why.png", [], "has no words after cleaning"),
        ("000000.jpg", "missing bolt", "why.gif", [], "has no ending of a picture; use .png"),
        ("000000.jpg", "missing bolt", "why.png", ["--layer", "9", "--map", "attention"], "layers 0 … 3"),
        ("000000.jpg", "missing bolt", "why.png", ["--layer", "1", "--map", "sheet"], "leave the layer out"),
        ("000000.jpg", "missing bolt", "why.png", ["--layer", "1"], 'layer 1 of map "gradient" does not exist'),
    ],
    ids=["no file", "no picture", "no words", "no ending", "no layer", "layer of a sheet", "layer of another map"],
)
def test_bad_input_ends_with_one_line(image, text, out, flags, message, command, tmp_path):
    """Exit code 2 with what is wrong, and nothing written."""
    code, printed = command(MODEL, PICTURE.parent / image, text, "--out", tmp_path / out, *flags)
    assert code == 2
    assert message in printed
    assert list(tmp_path.iterdir()) == []


def test_the_picture_itself_is_never_overwritten(command, tmp_path):
    """It may be the only one of what happened."""
    picture = tmp_path / "frame.png"
    picture.write_bytes(PICTURE.read_bytes())
    code, printed = command(MODEL, picture, "missing bolt", "--out", picture)
    assert code == 2 and "is the picture that is explained" in printed
    assert picture.read_bytes() == PICTURE.read_bytes()


def test_a_picture_that_cannot_be_written_is_named(grounder, tmp_path):
    """A folder in the way gives a clear error."""
    from simvg_core.explain_picture import draw, explained

    result = explained(MODEL, PICTURE, "missing bolt", "pointer")
    (tmp_path / "why.png").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        draw(result, tmp_path / "why.png")
    with pytest.raises(ImageError):
        explained(MODEL, tmp_path, "missing bolt", "pointer")

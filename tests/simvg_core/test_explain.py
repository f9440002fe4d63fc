"""An answer is explained by the patches and words it rests on."""

import json
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
PICTURES = REPOSITORY / "tests" / "data" / "explain"
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


def test_maps_of_the_shipped_model_lie_on_what_was_asked_for(grounder):
    """In rendered pictures the maps put several times more on the true boxes than their area's share."""
    truth = json.loads((PICTURES / "truth.json").read_text())
    frames = [cv2.imread(str(PICTURES / row["image"])) for row in truth]
    texts = grounder.processor.texts([row["text"] for row in truth])
    pixels = grounder.processor.frames(frames).pixel_values
    found = grounder.model.explain(pixels, texts.input_ids, texts.attention_mask)
    for name, least in (("pointer", 8), ("gradient", 6), ("attention", 3)):
        gains = []
        for row, frame, grid in zip(truth, frames, found.map(name).numpy(), strict=True):
            inside = np.zeros(frame.shape[:2], np.float32)
            for x, y, w, h in row["boxes_xywh_px"]:
                inside[y : y + h, x : x + w] = 1
            share = cv2.resize(inside, grid.shape, interpolation=cv2.INTER_AREA)
            gains.append(float((grid * share).sum() / grid.sum() / inside.mean()))
        assert np.median(gains) > least, (name, gains)


def test_the_words_that_decide_weigh_most(grounder):
    """The thing's name moves the score more than "the" does."""
    frame = cv2.imread(str(PICTURES / "000000.jpg"))
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
    picture = PICTURES / "000000.jpg"
    code, text = command(MODEL, picture, "missing bolt", "--out", tmp_path / "why.png", *flags)
    assert code == 0, text
    assert "missing" in text and "score" in text
    drawn, plain = cv2.imread(str(tmp_path / "why.png")), cv2.imread(str(picture))
    assert drawn.shape[0] > drawn.shape[1] * plain.shape[0] / plain.shape[1]
    enlarged = cv2.resize(plain, (drawn.shape[1], round(drawn.shape[1] * plain.shape[0] / plain.shape[1])))
    assert np.abs(drawn[: len(enlarged)].astype(int) - enlarged).max() > 50


@pytest.mark.parametrize(
    ("image", "text", "out", "flags", "message"),
    [
        ("none.jpg", "missing bolt", "why.png", [], "is not a picture that OpenCV reads"),
        ("truth.json", "missing bolt", "why.png", [], "is not a picture that OpenCV reads"),
        ("000000.jpg", "?!", "why.png", [], "has no words after cleaning"),
        ("000000.jpg", "missing bolt", "why.gif", [], "has no ending of a picture; use .png"),
        ("000000.jpg", "missing bolt", "why.png", ["--layer", "9", "--map", "attention"], "layers 0 … 3"),
        ("000000.jpg", "missing bolt", "why.png", ["--layer", "1"], 'layer 1 of map "gradient" does not exist'),
    ],
    ids=["no file", "no picture", "no words", "no ending", "no layer", "layer of another map"],
)
def test_bad_input_ends_with_one_line(image, text, out, flags, message, command, tmp_path):
    """Exit code 2 with what is wrong, and nothing written."""
    code, printed = command(MODEL, PICTURES / image, text, "--out", tmp_path / out, *flags)
    assert code == 2
    assert message in printed
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_named(grounder, tmp_path):
    """A folder in the way gives a clear error."""
    from simvg_core.explain_picture import draw, explained

    result = explained(MODEL, PICTURES / "000000.jpg", "missing bolt", "pointer")
    (tmp_path / "why.png").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        draw(result, tmp_path / "why.png")
    with pytest.raises(ImageError):
        explained(MODEL, tmp_path, "missing bolt", "pointer")

"""The model as a whole: start values, saving, and what it refuses."""

import pytest
import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError, ImageError, InputError, TextError
from simvg_core.initialisation import RESIDUAL_GAIN
from simvg_core.model import SimVGForGrounding
from simvg_core.positions import cell_centres, mean_place

IDS = torch.tensor([[0, 5, 2]])


def test_paper_models_start_as_published():
    """Encoder weights are cut at 0.02, biases and object token are zero, decoder matrices are Xavier."""
    model = SimVGForGrounding(SimVGConfig.tiny())
    layer = model.encoder.layers[0]
    assert layer.query_key_value["text"].weight.abs().max() <= 0.02
    assert layer.feed_forward["image"].contract.bias.abs().max() == 0
    assert model.encoder.object_tokens.abs().max() == 0
    assert model.encoder.words.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert model.query_generator.decoder.layers[0].self_attention.input_bias.abs().max() == 0


def test_small_models_start_near_the_identity_with_distinct_object_tokens():
    """Layers add little at first, tokens differ, and boxes start at a tenth of the image."""
    config = SimVGConfig.line_small(image_size=64, vocab_size=50)
    model = SimVGForGrounding(config)
    layer = model.encoder.layers[0]
    wide, narrow = layer.query_key_value["image"].weight.std(), layer.output["image"].weight.std()
    assert (narrow / wide).item() == pytest.approx(RESIDUAL_GAIN * 2**0.5, rel=0.1)
    assert model.encoder.object_tokens.std().item() > 0.2
    assert model.token_branch.head.locate.bias.sigmoid().tolist() == pytest.approx([0.5, 0.5, 0.1, 0.1], abs=0.01)


@pytest.mark.parametrize("preset", ["tiny", "line_small"])
def test_saving_and_loading_changes_nothing(preset, tmp_path):
    """A folder written by save_pretrained gives the same weights and the same answers, batch-norm included."""
    config = getattr(SimVGConfig, preset)(image_size=64, vocab_size=50)
    model = SimVGForGrounding(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.train()(torch.randn(2, 3, 64, 64), IDS.expand(2, -1))  # moves the running statistics
    model.eval().save_pretrained(tmp_path)
    again = SimVGForGrounding.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    pixels = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(pixels, IDS).token_boxes, again(pixels, IDS).token_boxes, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("pixels", "ids", "mask", "error", "message"),
    [
        ((1, 3, 64, 64), IDS, None, ImageError, r"shape \(1, 3, 64, 64\); this model takes \(images, 3, 96, 96\)"),
        ((3, 96, 96), IDS, None, InputError, "3 images but 1 texts|pixel_values has shape"),
        ((1, 3, 96, 96), torch.zeros(0, 3, dtype=torch.long), None, TextError, "holds no text"),
        ((1, 3, 96, 96), IDS, torch.ones(1, 2), TextError, r"attention_mask \(1, 2\) must have the shape"),
        ((1, 3, 96, 96), torch.zeros(1, 1100, dtype=torch.long), None, TextError, "1100 tokens; this model has"),
    ],
    ids=["other size", "no batch", "no text", "mask", "long text"],
)
def test_tensors_that_do_not_fit_are_named(pixels, ids, mask, error, message):
    """The message gives the shape and what the model takes."""
    with pytest.raises(error, match=message):
        SimVGForGrounding(SimVGConfig.tiny())(torch.zeros(pixels), ids, mask)


def test_labels_and_masks_must_fit():
    """Wrong numbers of labels, pixel masks and branch names are refused."""
    model, pixels = SimVGForGrounding(SimVGConfig.tiny()), torch.zeros(1, 3, 96, 96)
    with pytest.raises(InputError, match="2 labels for 1 texts"):
        model(pixels, IDS, labels=[{"boxes": torch.zeros(0, 4)}] * 2)
    with pytest.raises(ImageError, match=r"pixel_mask \(1, 5, 5\) must be \(1, 96, 96\)"):
        model(pixels, IDS, pixel_mask=torch.ones(1, 5, 5))
    with pytest.raises(InputError, match=r"branches \['head'\] do not exist"):
        model(pixels, IDS, branches=["head"])
    with pytest.raises(ConfigurationError, match="cannot be compiled ahead"):
        model.compile_queries(IDS)


BOXES = {"boxes": torch.zeros(0, 4)}
PIXELS = torch.zeros(1, 3, 96, 96)
KINDS = {
    "bytes as pixels": ({"pixel_values": PIXELS.byte()}, ImageError, "pixel_values is a uint8 tensor; pass normalised"),
    "array as pixels": ({"pixel_values": PIXELS.numpy()}, ImageError, "pixel_values is a ndarray; pass normalised"),
    "numbers as ids": ({"input_ids": IDS.float()}, TextError, "input_ids is a float32 tensor; pass token ids"),
    "list as ids": ({"input_ids": IDS.tolist()}, TextError, "input_ids is a list; pass token ids"),
    "a word too many": (
        {"input_ids": torch.tensor([[0, 200, 2]])},
        TextError,
        "input_ids holds 200; this model has words 0 … 199. Use the tokenizer of its own folder",
    ),
    "no word": ({"input_ids": torch.tensor([[0, -3, 2]])}, TextError, "input_ids holds -3; this model has words"),
    "labels without boxes": (
        {"labels": [{"box": torch.zeros(1, 4)}]},
        InputError,
        r"label 0 has no tensor of boxes \(keys \['box'\]\); pass .*\(n, 4\)",
    ),
    "boxes as a list": (
        {"labels": [{"boxes": [0, 0, 1, 1]}]},
        InputError,
        r"label 0 has no tensor of boxes \(boxes as a list\)",
    ),
    "labels that are none": ({"labels": [torch.zeros(1, 4)]}, InputError, r"label 0 .*\(a float32 tensor\)"),
    "boxes of five": ({"labels": [{"boxes": torch.zeros(2, 5)}]}, InputError, r"boxes of label 0 have shape \(2, 5\)"),
    "numbers as index": (
        {"image_index": torch.zeros(1)},
        InputError,
        "image_index is a float32 tensor; pass the image of each text",
    ),
}


@pytest.mark.parametrize("attention", ["joint", "standing"])
@pytest.mark.parametrize(("inputs", "error", "message"), KINDS.values(), ids=KINDS)
def test_tensors_of_a_wrong_kind_are_named(inputs, error, message, attention):
    """What was given and what to give, not what torch says deep inside."""
    model = SimVGForGrounding(SimVGConfig.tiny(attention=attention))
    with pytest.raises(error, match=message):
        model(**{"pixel_values": PIXELS, "input_ids": IDS, "labels": [BOXES]} | inputs)


def test_other_doors_of_the_model_refuse_the_same():
    """Compiling, explaining and the frame pass."""
    model = SimVGForGrounding(SimVGConfig.tiny(attention="standing")).eval()
    with pytest.raises(TextError, match="input_ids holds 200"):
        model.compile_queries(torch.tensor([[0, 200, 2]]))
    with pytest.raises(TextError, match="input_ids holds 200"):
        model.explain(PIXELS, torch.tensor([[0, 200, 2]]))
    with pytest.raises(ImageError, match="pixel_values is a uint8 tensor"):
        model.ground_frames(PIXELS.byte(), model.compile_queries(IDS))


def test_one_branch_can_run_alone():
    """Asking for the token branch leaves the decoder out, with the same answers."""
    model = SimVGForGrounding(SimVGConfig.tiny()).eval()
    pixels = torch.randn(1, 3, 96, 96)
    alone = model(pixels, IDS, branches=["token"])
    assert alone.decoder_boxes is None
    assert torch.equal(alone.token_boxes, model(pixels, IDS).token_boxes)


def test_stochastic_depth_acts_in_training_only():
    """Layers are left out at random while training, never in use."""
    torch.manual_seed(0)
    model = SimVGForGrounding(SimVGConfig.tiny(drop_path_rate=0.9, dropout=0.0))
    pixels = torch.randn(1, 3, 96, 96)
    runs = [model.train()(pixels, IDS).token_logits for _ in range(4)]
    assert any(not torch.equal(runs[0], run) for run in runs[1:])
    assert torch.equal(model.eval()(pixels, IDS).token_logits, model(pixels, IDS).token_logits)


def test_the_mean_place_is_that_of_the_cells_centres():
    """Column by column and row by row it is the same as over all cells."""
    weights = torch.rand(2, 3, 5 * 5, generator=torch.Generator().manual_seed(4)).softmax(dim=-1)
    expected = weights @ cell_centres(5, weights.device)
    torch.testing.assert_close(mean_place(weights, 5), expected, atol=1e-6, rtol=0)

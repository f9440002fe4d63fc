"""Standing attention: the cached path computes what the masked one-pass encoder defines."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError, InputError, QueryIndexError, TextError
from simvg_core.grouping import Grouping
from simvg_core.model import SimVGForGrounding
from simvg_core.standing import standing_mask

ATOL = 1e-5


def _model(**settings):
    torch.set_num_threads(1)
    torch.manual_seed(3)
    config = SimVGConfig.tiny(attention="standing", num_decoder_layers=1, **settings)
    model = SimVGForGrounding(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


MODELS = {
    "paper": _model(num_queries=3),
    "line": _model(
        num_queries=4,
        num_object_tokens=4,
        own_object_expert=True,
        box_head="pointer",
        auxiliary_heads=True,
        heat_guidance=True,
        num_kinds=3,
        num_colors=2,
        patch_embedding="convolutional",
        patch_size=16,
        stem_widths=(8, 8, 8, 8),
    ),
    "glimpse": _model(
        num_queries=3,
        own_object_expert=True,
        box_head="pointer",
        auxiliary_heads=True,
        heat_guidance=True,
        num_kinds=3,
        num_colors=2,
        patch_embedding="convolutional",
        patch_size=16,
        stem_widths=(8, 8, 8, 8),
        glimpse_side=3,
        glimpse_channels=4,
        loss_weights={"token": 1.0, "first": 1.0},
    ),
}


def _texts(lengths, seed, width=None):
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths, default=3)
    ids = torch.randint(4, 200, (len(lengths), width), generator=generator)
    mask = (torch.arange(width) < torch.tensor(lengths, dtype=torch.long)[:, None]).long()
    return torch.where(mask.bool(), ids, 1), mask


def _one_pass(model, pixels, ids, mask, image_index):
    """The definition: the joint encoder under the block mask, one full sequence per text."""
    blocks = standing_mask(model.config.num_object_tokens, model.config.num_patches, mask)
    encoded = model.encoder(pixels, ids, mask, image_index, mask=blocks)
    return model.answer(encoded, mask, Grouping.regular(len(ids), 1))


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(first=lengths, added=lengths, extra_padding=st.integers(0, 3), frames=st.integers(1, 3), data=st.data())
def test_cached_path_equals_the_masked_one_pass(name, first, added, extra_padding, frames, data):
    """Any batch, padding and number of queries, after adding and removing: the same answers within 1e-5."""
    model = MODELS[name]
    pixels = torch.randn(frames, 3, 96, 96, generator=torch.Generator().manual_seed(frames))
    width = max(first + added) + extra_padding
    ids, mask = _texts(first + added, len(first), width)
    standing = model.compile_queries(ids[: len(first)], mask[: len(first)])
    standing.add(ids[len(first) :], mask[len(first) :])
    total = len(ids)
    gone = data.draw(st.sets(st.integers(0, total - 1), max_size=total - 1))
    standing.remove(gone)
    kept = [i for i in range(total) if i not in gone]
    assert len(standing) == len(kept)
    out = model.ground_frames(pixels, standing, heat_map=True)
    index = torch.arange(frames).repeat_interleave(len(kept))
    with torch.no_grad():
        expected = _one_pass(model, pixels, ids[kept].repeat(frames, 1), mask[kept].repeat(frames, 1), index)
    shape = (frames, len(kept))
    torch.testing.assert_close(out.token_logits, expected.token_logits.unflatten(0, shape), atol=ATOL, rtol=0)
    torch.testing.assert_close(out.token_boxes, expected.token_boxes.unflatten(0, shape), atol=ATOL, rtol=0)
    if out.heat_map is not None:
        torch.testing.assert_close(out.heat_map, expected.heat_map.unflatten(0, shape), atol=ATOL, rtol=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("index", [[0, 0, 1, 1], [1, 0, 1, 1], [2, 2, 2, 0]], ids=str)
def test_training_forward_equals_the_masked_one_pass(name, index):
    """Many texts of one image, in any order and number, give the answers and gradients of the one-pass encoder."""
    model = MODELS[name]
    pixels = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    ids, mask = _texts([3, 7, 5, 2], 5)
    where = torch.tensor(index)
    results = []
    for run in (model, lambda p, i, m, image_index: _one_pass(model, p, i, m, image_index)):
        model.zero_grad()
        out = run(pixels, ids, mask, image_index=where)
        (out.token_boxes.sum() + out.token_logits[..., 0].sum() + out.decoder_boxes.sum()).backward()
        results.append((out, model.encoder.layers[0].query_key_value["image"].weight.grad.clone()))
    (fast, fast_gradient), (plain, plain_gradient) = results
    torch.testing.assert_close(fast.token_boxes, plain.token_boxes, atol=ATOL, rtol=0)
    torch.testing.assert_close(fast.decoder_boxes, plain.decoder_boxes, atol=ATOL, rtol=0)
    torch.testing.assert_close(fast_gradient, plain_gradient, atol=1e-3, rtol=1e-3)


def test_joint_forward_takes_an_image_index():
    """In joint attention image_index repeats the image for each of its texts."""
    torch.manual_seed(0)
    model = SimVGForGrounding(SimVGConfig.tiny()).eval()
    pixels, (ids, mask) = torch.randn(2, 3, 96, 96), _texts([3, 4, 5], 1)
    index = torch.tensor([1, 0, 1])
    out = model(pixels, ids, mask, image_index=index)
    expected = model(pixels[index], ids, mask)
    torch.testing.assert_close(out.token_boxes, expected.token_boxes, atol=ATOL, rtol=0)


def test_no_queries_give_empty_answers():
    """A frame with zero standing queries costs its frame pass and answers nothing."""
    model = MODELS["paper"]
    standing = model.compile_queries(*_texts([3], 1))
    standing.remove(0)
    out = model.ground_frames(torch.zeros(2, 3, 96, 96), standing)
    assert out.token_logits.shape == (2, 0, 3, 2)
    assert len(standing.add(*_texts([2, 4], 1))) == 2


def test_padding_may_stand_before_and_between_words():
    """What is taken out of a set leaves the others whole, wherever their padding is."""
    model = MODELS["line"]
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    ids, _ = _texts([4, 4, 4], 7)
    mask = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]])
    standing = model.compile_queries(ids, mask)
    before = model.ground_frames(pixels, standing)
    standing.remove(2)
    after = model.ground_frames(pixels, standing)
    torch.testing.assert_close(after.token_logits, before.token_logits[:, :2], atol=ATOL, rtol=0)
    standing.remove([0, 1]).add(ids, mask)
    again = model.ground_frames(pixels, standing)
    torch.testing.assert_close(again.token_logits, before.token_logits, atol=ATOL, rtol=0)


def test_a_set_that_began_empty_is_no_longer_than_its_texts():
    """Every frame pays for the padding of every text."""
    model = MODELS["paper"]
    standing = model.compile_queries(*_texts([], 1, width=9))
    assert standing.add(*_texts([2, 3], 2, width=9)).texts.input_ids.shape == (2, 3)


def test_queries_compiled_elsewhere_can_be_added_and_copies_are_independent():
    """A set compiled beside the hot path joins another one; a copy does not follow later changes."""
    model = MODELS["paper"]
    standing = model.compile_queries(*_texts([3], 1))
    copy = standing.copy()
    standing.add(model.compile_queries(*_texts([6, 2], 2)))
    assert (len(standing), len(copy)) == (3, 1)
    assert standing.num_bytes > copy.num_bytes
    assert standing.revision == 1


def test_removing_an_unknown_query_is_refused():
    """The message names the place and how many there are."""
    standing = MODELS["paper"].compile_queries(*_texts([3], 1))
    with pytest.raises(QueryIndexError, match=r"no standing query at \[4\]; there are 1"):
        standing.remove([0, 4])
    assert len(standing) == 1


def test_joint_models_do_not_compile_queries():
    """The message says which attention is needed."""
    with pytest.raises(ConfigurationError, match='use a model with attention="standing"'):
        SimVGForGrounding(SimVGConfig.tiny()).compile_queries(*_texts([3], 1))


def test_text_without_a_token_is_refused():
    """A row of only padding names its index."""
    ids, mask = _texts([3, 0], 1)
    with pytest.raises(TextError, match="text 1 has no real token"):
        MODELS["paper"].compile_queries(ids, mask)


@pytest.mark.parametrize(
    ("images", "index", "message"),
    [
        (2, None, "2 images but 3 texts; pass image_index"),
        (2, [0, 1], "image_index has 2 entries for 3 texts"),
        (2, [0, 1, 2], "image_index holds 2; there are 2 images"),
        (0, None, "holds no image"),
    ],
)
def test_texts_that_fit_no_image_are_refused(images, index, message):
    """Counts that do not fit each other are named."""
    pixels = torch.zeros(images, 3, 96, 96)
    with pytest.raises(InputError, match=message):
        MODELS["paper"](pixels, *_texts([3, 3, 3], 1), image_index=None if index is None else torch.tensor(index))


def test_a_query_added_to_a_thousand_costs_one_compilation(monkeypatch):
    """The text encoder sees the new text only, also when it is longer than all others; the others stay to the bit."""
    model = MODELS["line"]
    standing = model.compile_queries(*_texts([3, 4] * 32, 1))
    while len(standing) < 1000:
        standing.add(standing.copy().remove(range(min(1000 - len(standing), len(standing)), len(standing))))
    before = standing.texts
    sizes = []
    embed = model.encoder.embed_text

    def counted(input_ids, attention_mask):
        sizes.append(len(input_ids))
        return embed(input_ids, attention_mask)

    monkeypatch.setattr(model.encoder, "embed_text", counted)
    standing.add(*_texts([9], 2))
    assert (sizes, len(standing)) == ([1], 1001)
    assert standing.texts.input_ids.shape[1] == 9
    assert torch.equal(standing.texts.keys[:, :1000, :, :4], before.keys)
    standing.remove(1000)
    assert (sizes, len(standing)) == ([1], 1000)


def test_many_queries_run_in_parts_with_the_same_answers(monkeypatch):
    """Parts bound the memory of a frame; the answers and their order stay."""
    model = MODELS["line"]
    standing = model.compile_queries(*_texts([3, 7, 5, 2, 4, 6, 8], 5))
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    whole = model.ground_frames(pixels, standing)
    monkeypatch.setattr("simvg_core.asking.MAX_PAIRS", 6)
    parts = model.ground_frames(pixels, standing)
    for name in ("token_logits", "token_boxes", "existence_logits"):
        torch.testing.assert_close(parts[name], whole[name], atol=ATOL, rtol=0)

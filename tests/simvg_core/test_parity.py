"""The published model's numbers: two tiny official models, recomputed here from their own weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from simvg_core.checkpoints import config_from_official, load_official, read_tensors
from simvg_core.encoder import key_mask
from simvg_core.grouping import Grouping
from simvg_core.losses import set_loss, teacher_of
from simvg_core.matching import Targets, match
from simvg_core.model import SimVGForGrounding
from simvg_core.official_names import official_sources
from simvg_core.positions import grid_positions, text_positions, valid_cells

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
ATOL = 2e-5


class Case:
    """One official model with its recorded inputs and outputs."""

    def __init__(self, name, pooling="official"):
        torch.set_num_threads(1)
        self.arrays = np.load(REFERENCE / f"simvg_tiny_{name}_io.npz", allow_pickle=False)
        config = config_from_official(REFERENCE / f"simvg_tiny_{name}_config.json", text_pooling=pooling)
        self.model = SimVGForGrounding(config).eval()
        self.tensors = read_tensors(REFERENCE / f"simvg_tiny_{name}.safetensors")
        self.report = load_official(self.model, self.tensors)
        self.image = torch.from_numpy(self.arrays["image"])
        self.ids = torch.from_numpy(self.arrays["token_ids"])
        self.mask = 1 - torch.from_numpy(self.arrays["padding_mask"])
        self.shapes = self.arrays["img_shape"]
        self.pixel_mask = torch.zeros(3, 96, 96)
        for i, (h, w, _) in enumerate(self.shapes):
            self.pixel_mask[i, :h, :w] = 1
        self.labels = [{"boxes": self._boxes(i)} for i in range(3)]

    def _boxes(self, i):
        if "gt_bbox" in self.arrays:
            boxes = self.arrays["gt_bbox"][i : i + 1]
        else:
            boxes = self.arrays[f"gt_bbox_{i}"][self.arrays[f"gt_category_{i}"] != -1]
        h, w, _ = self.shapes[i]
        scaled = torch.from_numpy(boxes).float() / torch.tensor([w, h, w, h])
        return torch.cat([(scaled[:, :2] + scaled[:, 2:]) / 2, scaled[:, 2:] - scaled[:, :2]], dim=1)

    def run(self):
        return self.model(self.image, self.ids, self.mask, self.pixel_mask, self.labels)

    def check(self, name, value, atol=ATOL, rtol=0.0, group="out"):
        expected = self.arrays[f"{group}.{name}"]
        np.testing.assert_allclose(
            value.detach().numpy().reshape(expected.shape), expected, atol=atol, rtol=rtol, err_msg=name
        )


@pytest.fixture(scope="module", params=["rec", "grec"])
def case(request):
    """The REC or GREC model."""
    return Case(request.param)


def test_every_official_key_is_loaded(case):
    """A strict load uses all keys but the three that have no effect."""
    assert len(case.report.loaded) + 3 == len(case.tensors)
    assert set(official_sources(case.model.config)) == set(case.model.state_dict())


def test_encoder(case):
    """Embeddings, every layer and the final outputs of the encoder agree."""
    encoder = case.model.encoder
    x, spans = encoder.embed(case.image, case.ids, case.mask, None)
    case.check("enc_embed", x)
    case.check("enc_layers", torch.stack(encoder.run(x, spans, key_mask(case.mask, x.shape[1]))))
    encoded = encoder(case.image, case.ids, case.mask)
    case.check("enc_cls_feat", encoded.objects)
    case.check("enc_img_feat", encoded.image)
    case.check("enc_text_feat", encoded.text)


def test_positions(case):
    """Fixed text and grid positions agree, the grid counting only cells inside the image."""
    width, grid = case.model.config.head_size, case.model.config.grid_size
    case.check("head_text_pos1d", text_positions(20, width, torch.device("cpu")))
    valid = valid_cells(case.pixel_mask, grid)
    assert np.array_equal(~valid.numpy(), case.arrays["out.head_img_mask"])
    case.check("head_pos2d", grid_positions(valid, width).transpose(1, 2).unflatten(2, (grid, grid)))


def _token_path(case, group):
    encoded = case.model.encoder(case.image, case.ids, case.mask)
    queries, pooled = case.model.query_generator(encoded.text, case.mask)
    case.check("text_feat_filter", pooled, group=group)
    case.check("query_embed", queries, group=group)
    learned = case.model.query_generator.queries.weight
    case.check("tqg_out", queries - pooled[:, None] - learned, group=group)
    branch = case.model.token_branch
    case.check("token_in", queries + branch.project(encoded.objects), group=group)
    case.check("token_feat", branch.features(encoded.objects, queries), group=group)
    return encoded


def test_query_generation_and_token_features(case):
    """Pooled text, generated queries and token features agree."""
    encoded = _token_path(case, "out")
    image = case.model.image_projection(encoded.image)
    case.check("head_proj_img", image.transpose(1, 2))
    case.check("head_proj_text", case.model.query_generator.project(encoded.text))
    case.check("head_proj_cls", case.model.token_branch.project(encoded.objects))


def test_answers_of_both_branches(case):
    """Logits and boxes of the token branch and of every decoder layer agree."""
    out = case.run()
    for name in ("token_logits", "token_boxes", "decoder_logits", "decoder_boxes"):
        case.check(name, getattr(out, name))


def test_losses(case):
    """The three losses, their sum and the balance weight agree."""
    out = case.run()
    terms = out.loss_terms
    names = {"decoder": "loss_dgt", "token": "loss_tgt", "distill": "loss_kd", "balance_weight": "loss_distill_w"}
    for ours, theirs in names.items():
        case.check(f"loss.{theirs}", terms[ours], atol=0, rtol=1e-5)
    case.check("loss.loss_total", out.loss, atol=0, rtol=1e-5)


def _check_terms(case, name, loss, suffix=""):
    for theirs, value in (("class", loss.classes), ("bbox", loss.l1), ("giou", loss.giou)):
        case.check(f"term.{name}.loss_{theirs}{suffix}", value, atol=1e-7, rtol=1e-5)


def test_single_loss_terms_assignments_and_teacher(case):
    """Every term of every set of answers, every assignment and the teacher's targets agree."""
    out = case.run()
    targets = Targets.of([label["boxes"] for label in case.labels], torch.device("cpu"))
    rows = []
    for layer, (logits, boxes) in enumerate(zip(out.decoder_logits, out.decoder_boxes, strict=True)):
        loss = set_loss(logits, boxes, targets)
        last = layer == len(out.decoder_logits) - 1
        _check_terms(case, "decoder_gt", loss, "" if last else f"_{layer}")
        rows += [(layer, *row) for row in zip(*(part.tolist() for part in loss.matches), strict=True)]
    assert sorted(rows) == sorted(map(tuple, _matches(case, "decoder_gt")))
    token = set_loss(out.token_logits, out.token_boxes, targets)
    _check_terms(case, "token_gt", token)
    teacher = teacher_of(out.decoder_logits[-1], out.decoder_boxes[-1], targets, loss.matches)
    case.check("teacher.weight", teacher.weights)
    taught = set_loss(out.token_logits, out.token_boxes, teacher.targets)
    _check_terms(case, "token_teacher", taught)
    for name, result in (("token_gt", token), ("token_teacher", taught)):
        ours = {tuple(row) for row in zip(*(part.tolist() for part in result.matches), strict=True)}
        theirs = {tuple(row[1:]) for row in _matches(case, name)}
        assert ours == theirs


def _matches(case, name):
    return case.arrays[f"out.match.{name}"].tolist()


def test_gradients(case):
    """The gradient of the total loss agrees for every parameter."""
    case.model.zero_grad()
    case.run().loss.backward()
    norms = dict(zip(case.arrays["out.grad.keys"].tolist(), case.arrays["out.grad.l2"].tolist(), strict=True))
    own = dict(case.model.named_parameters())
    checked = 0
    for name, sources in official_sources(case.model.config).items():
        for source, part in zip(sources, own[name].grad.chunk(len(sources)), strict=True):
            assert norms[source] == pytest.approx(float(part.norm()), rel=1e-3, abs=1e-4), source
            full = f"out.grad.full.{source}"
            if full in case.arrays:
                expected = case.arrays[full]
                np.testing.assert_allclose(part.numpy().reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)
            checked += 1
    assert checked == len(norms) - 1  # the mask token of pretraining has no gradient


@pytest.mark.parametrize("name", ["rec", "grec"])
def test_masked_pooling_is_the_intended_behaviour(name):
    """With text_pooling="masked" the numbers are those of a boolean mask."""
    case = Case(name, pooling="masked")
    _token_path(case, "boolmask")
    out = case.run()
    for key in ("token_logits", "token_boxes", "decoder_logits", "decoder_boxes"):
        case.check(key, getattr(out, key), group="boolmask")
    case.check("loss.loss_total", out.loss, atol=0, rtol=1e-5, group="boolmask")


def test_a_batch_without_any_target_has_finite_losses_and_gradients(case):
    """No target anywhere gives balance weight 0 and no NaN."""
    labels = [{"boxes": torch.zeros(0, 4)}] * 3
    case.model.zero_grad()
    out = case.model(case.image, case.ids, case.mask, case.pixel_mask, labels)
    out.loss.backward()
    assert float(out.loss_terms["balance_weight"]) == 0
    assert all(bool(p.grad.isfinite().all()) for p in case.model.parameters() if p.grad is not None)


def test_first_stage_trains_the_decoder_alone(case):
    """With only "decoder" in the loss weights the token branch does not run and the loss is the decoder's."""
    config = config_from_official(REFERENCE / "simvg_tiny_rec_config.json", loss_weights={"decoder": 1.0})
    model = SimVGForGrounding(config).eval()
    out = model(torch.zeros(1, 3, 96, 96), torch.tensor([[0, 5, 2]]), None, None, [{"boxes": torch.rand(1, 4)}])
    assert out.token_logits is None
    assert out.loss.item() == pytest.approx(out.loss_terms["decoder"].item())


def test_batch_equals_single(case):
    """Each sample alone gives the numbers it gives in the batch."""
    together = case.run()
    for i in range(3):
        one = slice(i, i + 1)
        alone = case.model(case.image[one], case.ids[one], case.mask[one], case.pixel_mask[one])
        torch.testing.assert_close(alone.token_boxes, together.token_boxes[one], atol=ATOL, rtol=0)
        torch.testing.assert_close(alone.decoder_boxes, together.decoder_boxes[:, one], atol=ATOL, rtol=0)


def test_answer_runs_on_given_features(case):
    """The part after the encoder can be run on features made before."""
    encoded = case.model.encoder(case.image, case.ids, case.mask)
    out = case.model.answer(encoded, case.mask, Grouping.regular(3, 1), case.pixel_mask)
    case.check("token_logits", out.token_logits)


def test_matching_with_more_targets_than_answers():
    """One answer and three targets match the cheapest target."""
    targets = Targets.of([torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]])], "cpu")
    matches = match(torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), targets)
    assert matches.target.tolist() == [1]

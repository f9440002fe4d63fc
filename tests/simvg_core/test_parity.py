"""The published model's numbers: two tiny official models, recomputed here from their own weights.

Every array of the recordings is one test: the list of tests comes from the files, so nothing in them stays uncompared.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from simvg_core.checkpoints import config_from_official, load_official, read_tensors
from simvg_core.configuration import SimVGConfig
from simvg_core.encoder import key_mask
from simvg_core.grouping import Grouping
from simvg_core.losses import set_loss, teacher_of
from simvg_core.matching import Targets, match
from simvg_core.model import SimVGForGrounding
from simvg_core.official_names import official_sources
from simvg_core.positions import grid_positions, text_positions, valid_cells
from simvg_core.processing import SimVGProcessor

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
ATOL = 2e-5
SIDE = 96  # pixels of the network input, to which boxes in pixels are exact
LOSSES = {
    "decoder": "loss_dgt",
    "token": "loss_tgt",
    "distill": "loss_kd",
    "balance_weight": "loss_distill_w",
}


class Case:
    """One official model with its recorded inputs and outputs. `group` "out" is the published behaviour, "boolmask"
    the intended one (text_pooling="masked")."""

    def __init__(self, name, group="out"):
        torch.set_num_threads(1)
        self.group = group
        self.arrays = np.load(REFERENCE / f"simvg_tiny_{name}_io.npz", allow_pickle=False)
        settings = {"text_pooling": "masked"} if group == "boolmask" else {}
        config = config_from_official(REFERENCE / f"simvg_tiny_{name}_config.json", **settings)
        self.model = SimVGForGrounding(config).eval()
        self.tensors = read_tensors(REFERENCE / f"simvg_tiny_{name}.safetensors")
        self.report = load_official(self.model, self.tensors)
        self.image = torch.from_numpy(self.arrays["image"])
        self.ids = torch.from_numpy(self.arrays["token_ids"])
        self.mask = 1 - torch.from_numpy(self.arrays["padding_mask"])
        self.shapes = self.arrays["img_shape"]
        self.pixel_mask = torch.zeros(3, SIDE, SIDE)
        for i, (h, w, _) in enumerate(self.shapes):
            self.pixel_mask[i, :h, :w] = 1
        self.labels = [{"boxes": self._boxes(i)} for i in range(3)]
        self.targets = Targets.of([label["boxes"] for label in self.labels], torch.device("cpu"))

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

    def numbers(self):
        """Recorded name → our number, for every array but the gradients."""
        with torch.no_grad():
            out = self.run()
            found = self._encoder() | self._heads() | self._losses(out) | self._posted(out)
        answers = ("token_logits", "token_boxes", "decoder_logits", "decoder_boxes")
        return found | {name: getattr(out, name) for name in answers}

    def _encoder(self):
        encoder = self.model.encoder
        x, spans, _ = encoder.embed(self.image, self.ids, self.mask, None)
        layers = encoder.run(x, spans, key_mask(self.mask, x.shape[1]))
        encoded = encoder(self.image, self.ids, self.mask)
        return {
            "enc_embed": x,
            "enc_layers": torch.stack(layers),
            "enc_cls_feat": encoded.objects,
            "enc_img_feat": encoded.image,
            "enc_text_feat": encoded.text,
        }

    def _heads(self):
        model, grid, width = self.model, self.model.config.grid_size, self.model.config.head_size
        encoded = model.encoder(self.image, self.ids, self.mask)
        queries, pooled = model.query_generator(encoded.text, self.mask)
        image = model.image_projection(encoded.image)
        cells = valid_cells(self.pixel_mask, grid)
        position = grid_positions(cells, width)
        hidden = model.decoder_branch.decoder(queries.unsqueeze(1), image, position, cells.flatten(1))
        branch = model.token_branch
        return {
            "head_proj_img": image.transpose(1, 2),
            "head_proj_text": model.query_generator.project(encoded.text),
            "head_proj_cls": branch.project(encoded.objects),
            "head_img_mask": ~cells,
            "head_pos2d": position.transpose(1, 2),
            "head_text_pos1d": text_positions(20, width, torch.device("cpu")),
            "text_feat_filter": pooled,
            "tqg_out": queries - pooled[:, None] - model.query_generator.queries.weight,
            "query_embed": queries,
            "token_in": queries + branch.project(encoded.objects),
            "token_feat": branch.mlp(queries + branch.project(encoded.objects)),
            "decoder_hidden": torch.stack(hidden),
        }

    def _losses(self, out):
        found = {f"loss.{theirs}": out.loss_terms[ours] for ours, theirs in LOSSES.items()}
        found["loss.loss_total"] = out.loss
        layers = [
            set_loss(logits, boxes, self.targets)
            for logits, boxes in zip(out.decoder_logits, out.decoder_boxes, strict=True)
        ]
        token = set_loss(out.token_logits, out.token_boxes, self.targets)
        teacher = teacher_of(out.decoder_logits[-1], out.decoder_boxes[-1], self.targets, layers[-1].matches)
        taught = set_loss(out.token_logits, out.token_boxes, teacher.targets)
        for index, loss in enumerate(layers):
            found |= _terms("decoder_gt", loss, "" if index == len(layers) - 1 else f"_{index}")
        found |= _terms("token_gt", token) | _terms("token_teacher", taught)
        found |= {
            "match.decoder_gt": _rows(layers),
            "match.token_gt": _rows([token]),
            "match.token_teacher": _rows([taught]),
            "teacher.weight": teacher.weights,
        }
        for name, targets in (("target_gt", self.targets), ("teacher", teacher.targets)):
            boxes = [rows[:count] for rows, count in zip(*targets, strict=True)]
            found[f"{name}.boxes"] = torch.cat(boxes)
            found[f"{name}.batch"] = torch.arange(3).repeat_interleave(targets.counts)
        return found

    def _posted(self, out):
        """Boxes in pixels of the network input, and of the frame it was resized from; best answer first."""
        found, single = {}, "gt_bbox" in self.arrays
        processor = SimVGProcessor(self.model.config, lambda text: [])
        resized = self.shapes[:, :2].astype(float)
        original = resized / self.arrays["scale_factor"][:, [1, 0]]
        for branch in ("decoder", "token"):
            for name, sizes in (("post", resized), ("post_rescaled", original)):
                answers = processor.post_process_grounding(out, sizes, threshold=0.0, branch=branch)
                if single:
                    found[f"{name}.{branch}.boxes"] = np.stack([answer.boxes_xyxy_px[0] for answer in answers])
                    continue
                for i, answer in enumerate(answers):
                    found[f"{name}.{branch}.boxes_{i}"] = answer.boxes_xyxy_px
                    found[f"{name}.{branch}.scores_{i}"] = answer.scores
                    found[f"{name}.{branch}.labels_{i}"] = np.zeros(len(answer.scores), np.int64)  # the one class
        return found


def _terms(name, loss, suffix=""):
    values = {"class": loss.classes, "bbox": loss.l1, "giou": loss.giou}
    return {f"term.{name}.loss_{theirs}{suffix}": value for theirs, value in values.items()}


def _rows(losses):
    """(layer, sample, query, target) of every assignment."""
    return [
        [layer, *row]
        for layer, loss in enumerate(losses)
        for row in zip(*map(torch.Tensor.tolist, loss.matches), strict=True)
    ]


@functools.cache
def recorded(name, group):
    """A case and its numbers, computed once."""
    case = Case(name, group)
    return case, case.numbers()


def _arrays():
    """(model, group, array) for everything recorded but inputs and gradients."""
    for name in ("rec", "grec"):
        for key in np.load(REFERENCE / f"simvg_tiny_{name}_io.npz").files:
            group, _, array = key.partition(".")
            if array and not array.startswith("grad."):
                yield pytest.param(name, group, array, id=f"{name} {group} {array}")


@pytest.mark.parametrize(("name", "group", "array"), list(_arrays()))
def test_recorded_number(name, group, array):
    """The number agrees: activations, logits and normalised boxes to 2e-5, losses to 1e-5 of their size."""
    case, numbers = recorded(name, group)
    expected, ours = case.arrays[f"{group}.{array}"], np.asarray(numbers[array])
    kind = array.split(".")[0]
    if kind.startswith("post") and name == "grec":
        # the published answers stand in the order of the queries, ours by score
        branch, sample = array.split(".")[1], array[-1]
        expected = expected[np.argsort(-case.arrays[f"{group}.post.{branch}.scores_{sample}"], kind="stable")]
    tolerance = {"atol": ATOL, "rtol": 0.0}
    if kind in ("loss", "term"):
        tolerance = {"atol": 1e-7, "rtol": 1e-5}
    elif kind.startswith("post") and "boxes" in array:
        scale = case.arrays["scale_factor"].min() if kind == "post_rescaled" else 1.0
        tolerance = {"atol": ATOL * SIDE / scale, "rtol": 0.0}
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, **tolerance)


@pytest.fixture(scope="module", params=["rec", "grec"])
def case(request):
    """The REC or GREC model as published."""
    return recorded(request.param, "out")[0]


def test_every_official_key_is_loaded(case):
    """A strict load uses all keys but the three that have no effect."""
    assert len(case.report.loaded) + 3 == len(case.tensors)
    assert set(official_sources(case.model.config)) == set(case.model.state_dict())


def test_the_pooled_text_rule_follows_the_weights():
    """Official weights bring the published rule; a model of our own pools over its real tokens."""
    assert config_from_official(REFERENCE / "simvg_tiny_rec_config.json").text_pooling == "official"
    assert SimVGConfig().text_pooling == "masked"


def test_gradients(case):
    """The gradient of the total loss agrees for every parameter."""
    case.model.zero_grad()
    case.run().loss.backward()
    norms = dict(zip(case.arrays["out.grad.keys"].tolist(), case.arrays["out.grad.l2"].tolist(), strict=True))
    own = dict(case.model.named_parameters())
    checked, whole = 0, 0
    for name, sources in official_sources(case.model.config).items():
        for source, part in zip(sources, own[name].grad.chunk(len(sources)), strict=True):
            assert norms[source] == pytest.approx(float(part.norm()), rel=1e-3, abs=1e-4), source
            full = f"out.grad.full.{source}"
            if full in case.arrays:
                expected = case.arrays[full]
                np.testing.assert_allclose(part.numpy().reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)
                whole += 1
            checked += 1
    assert checked == len(norms) - 1  # the mask token of pretraining has no gradient
    assert whole == sum(name.startswith("out.grad.full.") for name in case.arrays.files) > 0


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
    torch.testing.assert_close(out.token_logits, case.run().token_logits, atol=ATOL, rtol=0)


def test_matching_with_more_targets_than_answers():
    """One answer and three targets match the cheapest target."""
    targets = Targets.of([torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]])], "cpu")
    matches = match(torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), targets)
    assert matches.target.tolist() == [1]

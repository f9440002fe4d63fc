"""Published weights are read exactly, and anything else is refused by name."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from simvg_core.checkpoints import (
    config_from_official,
    config_from_tensors,
    load_beit3,
    load_official,
    read_tensors,
)
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, MismatchError, SimVGError
from simvg_core.model import SimVGForGrounding
from simvg_core.official_names import UNUSED_OFFICIAL_KEYS, official_shape, official_sources

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
REC = REFERENCE / "simvg_tiny_rec.safetensors"
ENCODER = "vis_enc.beit3.encoder"
BEIT3 = np.load(REFERENCE / "beit3_pretrain_tiny_io.npz")


@pytest.fixture(scope="module")
def tensors():
    """Weights of the tiny REC model under official keys."""
    torch.set_num_threads(1)
    return read_tensors(REC)


@pytest.fixture
def model():
    """An untrained model of that size."""
    return SimVGForGrounding(config_from_official(REFERENCE / "simvg_tiny_rec_config.json"))


@pytest.mark.parametrize(
    ("wrap", "weights", "expected"),
    [
        (lambda w: w, None, 0.0),
        (lambda w: {"state_dict": w, "epoch": 3, "d_acc": np.float64(0.5), "optimizer": {"state": {}}}, None, 0.0),
        (lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}}, None, 0.0),
        (lambda w: {"state_dict": w, "ema_state_dict": {k: v + 1 for k, v in w.items()}}, "ema", 1.0),
        (lambda w: {"state_dict": w, "ema_state_dict": {k: v + 1 for k, v in w.items()}}, "plain", 0.0),
        (lambda w: {"model": w}, None, 0.0),
        (lambda w: {"module": w}, None, 0.0),
    ],
    ids=["bare", "training", "several GPUs", "EMA", "EMA not wanted", "model", "module"],
)
def test_wrapped_torch_files(wrap, weights, expected, tmp_path):
    """All wrappings of released files are taken off."""
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap({"a.weight": torch.zeros(2)}), path)
    read = read_tensors(path, weights)
    assert list(read) == ["a.weight"]
    assert read["a.weight"].tolist() == [expected] * 2


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self):
        return (os.system, ("true",))


def test_a_pickle_with_code_is_refused(tmp_path):
    """Nothing but tensors and plain containers is unpickled."""
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Evil()}, path)
    with pytest.raises(CheckpointError, match="more than tensors and plain containers, and is not opened"):
        read_tensors(path)


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_truncated_file_is_refused(name, tensors, tmp_path):
    """The message says to get the file again."""
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="download it again"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("save", "name", "message"),
    [
        (save_file, "weights.pth", r"weights\.pth is a safetensors file; rename it to weights\.safetensors"),
        (torch.save, "weights.safetensors", r"weights\.safetensors is a torch file; rename it to weights\.pth"),
    ],
    ids=["safetensors", "torch"],
)
def test_a_file_under_the_name_of_another_format_is_refused(save, name, message, tmp_path):
    """The message says what it is and how to name it."""
    save({"a": torch.zeros(2)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path / name)


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    """Missing files, other objects and empty dictionaries are named."""
    with pytest.raises(CheckpointError, match="is not a file"):
        read_tensors(tmp_path / "missing.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_tensors(tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match=r"holds no tensors \(keys: epoch\)"):
        read_tensors(tmp_path / "empty.pth")


def test_missing_unexpected_and_misshapen_keys_are_named(model, tensors):
    """A strict load lists every key that does not fit."""
    changed = dict(tensors)
    del changed["head.query_embed.weight"]
    changed["head.new"] = torch.zeros(1)
    changed["head.input_cls_proj.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as caught:
        load_official(model, changed)
    for part in ("head.query_embed.weight", "head.new", r"head.input_cls_proj.bias: (5,) instead of (32,)"):
        assert part in str(caught.value)


QUERIES = f"{ENCODER}.layers.1.self_attn.q_proj.A.weight"


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        (QUERIES, lambda weight: weight[:, :32], r"Other shape: {key}: \(64, 32\) instead of \(64, 64\)"),
        ("head.input_proj.weight", lambda weight: weight.flatten(), r"Other shape: {key}: \(2048,\) instead of"),
        (
            "head.input_proj.weight",
            lambda weight: weight.transpose(0, 1),
            r"{key}: \(64, 32, 1, 1\) instead of \(32, 64",
        ),
        (QUERIES, lambda weight: weight.clone().fill_(torch.nan), "Unusable: {key}: NaN or infinite"),
        (QUERIES, lambda weight: weight.double() * 1e300 * 1e9, "Unusable: {key}: NaN or infinite"),
        (QUERIES, lambda weight: weight.long(), r"Unusable: {key}: torch\.int64, not dense floating point"),
        (QUERIES, lambda weight: weight.to_sparse(), "Unusable: {key}: .* not dense floating point"),
    ],
    ids=["one of three", "flat", "turned", "NaN", "infinite", "integers", "sparse"],
)
def test_weights_of_another_shape_or_kind_are_named(key, change, message, model, tensors):
    """Each by its official key, also where three of them are one weight here, and where the number of values fits."""
    changed = tensors | {key: change(tensors[key])}
    with pytest.raises(MismatchError, match=message.format(key=re.escape(key))):
        load_official(model, changed)


def test_an_error_names_every_key_however_many(model, tensors):
    """The message names twenty of a kind and counts the rest, `keys` holds them all."""
    few = {key: value for key, value in tensors.items() if key.startswith("head.")}
    with pytest.raises(MismatchError, match=r"Missing: .* and \d+ more\. Unexpected: none") as caught:
        load_official(model, few)
    absent = {key for group in official_sources(model.config).values() for key in group} - few.keys()
    assert caught.value.keys == {"missing": sorted(absent)} and len(absent) > 20


def test_another_grid_is_refused(tensors):
    """A checkpoint of another image size does not slip in."""
    config = config_from_official(REFERENCE / "simvg_tiny_rec_config.json", image_size=64)
    with pytest.raises(CheckpointError, match=r"embed_positions\.A\.weight: \(12, 64\) instead of \(7, 64\)"):
        load_official(SimVGForGrounding(config), tensors)


def test_a_standing_model_takes_the_same_weights(tensors):
    """Its object expert starts as the image expert, its object tokens as the one of the checkpoint."""
    config = config_from_official(
        REFERENCE / "simvg_tiny_rec_config.json",
        attention="standing",
        text_pooling="masked",
        own_object_expert=True,
    )
    student = SimVGForGrounding(config)
    load_official(student, tensors)
    layer = student.encoder.layers[0].output
    assert torch.equal(layer["object"].weight, layer["image"].weight)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "not an official SimVG checkpoint: it has no 'vis_enc.beit3.text_embed.weight'"),
        ({"vis_enc.beit3.text_embed.weight": torch.zeros(9, 64)}, r"is \(9, 64\): .* neither base \(768\) nor large"),
        ({"vis_enc.beit3.text_embed.weight": torch.zeros(768)}, r"is \(768,\): .* neither base"),
    ],
    ids=["none", "another width", "one axis"],
)
def test_what_is_neither_base_nor_large_needs_its_settings(tensors, message):
    """Sizes are known for the published widths alone."""
    with pytest.raises(CheckpointError, match=message):
        config_from_tensors(tensors)


def _settings(*path, value):
    """The tiny model's settings with another value at a path."""
    settings = json.loads((REFERENCE / "simvg_tiny_rec_config.json").read_text())
    at = settings
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return settings


LOSSES = ("model", "head", "branch_loss_weight")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "lack 'model'"),
        ([1], r"the file is \[1\]; give a mapping"),
        (_settings("enc_shrink", value="x"), "enc_shrink is 'x'; give a mapping"),
        (_settings("enc_shrink", value={"heads": 4}), "lack 'embed_dim'"),
        (_settings("enc_shrink", "embed_dim", value="64"), "hidden_size='64' is not a whole number"),
        (_settings("model", "vis_enc", value="x"), "vis_enc is 'x'; give a mapping"),
        (_settings("model", "head", value=[1]), r"head is \[1\]; give a mapping"),
        (_settings("model", "head", "num_queries", value="two"), "num_queries='two' is not a whole number"),
        (_settings("model", "head", "num_queries", value=None), "num_queries=None is not a whole number"),
        (_settings(*LOSSES, value=None), "branch_loss_weight is None; give a mapping"),
        (_settings(*LOSSES, "balanced_distill", value=[1]), r"balanced_distill is \[1\]; give a mapping"),
        (_settings(*LOSSES, "decoder", value="a"), r"loss_weights=\{'decoder': 'a', .* a finite number for each name"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_wrong_model_settings_are_refused(settings, message, tmp_path):
    """The missing key, or the value that is of another kind, is named."""
    (tmp_path / "model.json").write_text(json.dumps(settings))
    with pytest.raises(SimVGError, match=message):
        config_from_official(tmp_path / "model.json")


def test_a_settings_file_that_cannot_be_read_is_refused(tmp_path):
    """With its path."""
    with pytest.raises(CheckpointError, match=r"none\.json is not a readable JSON file"):
        config_from_official(tmp_path / "none.json")


@pytest.mark.parametrize("size", ["base", "large"])
def test_full_size_models_have_exactly_the_official_keys(size):
    """Every official key and shape of base and large is a weight here, and nothing is left over."""
    official = json.loads((REFERENCE / "official_keys_full_size.json").read_text())[f"refcoco_{size}"]
    config = getattr(SimVGConfig, size)()
    with torch.device("meta"):
        own = SimVGForGrounding(config).state_dict()
    sources = official_sources(config)
    assert set(sources) == set(own)
    for ours, theirs in sources.items():
        shape = official_shape(ours, tuple(own[ours].shape), len(theirs))
        assert [tuple(official[key]) for key in theirs] == [shape] * len(theirs), ours
    assert {key for group in sources.values() for key in group} | UNUSED_OFFICIAL_KEYS == set(official)


@pytest.mark.parametrize(("name", "last"), [("refcoco_base", 11), ("refcoco_large", 23)])
def test_a_full_size_checkpoint_without_its_last_layers_is_refused(name, last):
    """The depth is the published one, whatever layers the file has: every key that lacks, or is too many, is named."""
    keys = json.loads((REFERENCE / "official_keys_full_size.json").read_text())[name]
    generator = "head.text_guided_query_generation_transformer.layers"
    lost = (f"{ENCODER}.layers.{last}.", "head.transformer.decoder.layers.2.", f"{generator}.1.", "head.query_embed.")
    kept = {key: shape for key, shape in keys.items() if not key.startswith(lost)}
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in kept.items()}
        tensors |= {f"{generator}.2.norms.0.bias": torch.empty(256), f"{ENCODER}.layer_norm.A.bias": torch.empty(9)}
        model = SimVGForGrounding(config_from_tensors(tensors))
    with pytest.raises(MismatchError, match=r"Missing: .* and \d+ more\.") as caught:
        load_official(model, tensors)
    width = model.config.hidden_size
    assert caught.value.keys == {
        "missing": sorted(keys.keys() - kept.keys()),
        "unexpected": [f"{generator}.2.norms.0.bias"],
        "other shape": [f"{ENCODER}.layer_norm.A.bias: (9,) instead of ({width},)"],
    }


def _beit3_size(**settings):
    """A toy whose encoder is that of the tiny pretraining checkpoint."""
    return SimVGConfig.tiny(
        hidden_size=24, num_attention_heads=4, intermediate_size=48, num_hidden_layers=2, vocab_size=60, **settings
    )


@pytest.mark.parametrize(("image", "patch"), BEIT3["targets"].tolist())
def test_beit3_pretraining(image, patch):
    """Positions and patch kernels are resized as published, and the encoder computes the published features."""
    model = SimVGForGrounding(_beit3_size(image_size=image, patch_size=patch, text_pooling="official")).eval()
    weights = read_tensors(REFERENCE / "beit3_pretrain_tiny.safetensors")
    report = load_beit3(model, {**weights, "head.weight": torch.zeros(2)})
    name = f"img{image}_patch{patch}"
    assert report.unexpected == ["head.weight"]
    changed = sorted(f"vis_enc.{key}" for key in BEIT3[f"{name}.changed_keys"].tolist())
    assert sorted(report.interpolated) == changed
    np.testing.assert_allclose(
        model.encoder.image_positions.weight.detach(), BEIT3[f"{name}.pos_embed_A"], atol=1e-6, rtol=0
    )
    if patch == 32:
        np.testing.assert_allclose(
            model.encoder.patches.projection.weight.detach(), BEIT3["patch32.proj_weight"], atol=1e-6, rtol=0
        )
    ids, mask = torch.from_numpy(BEIT3["token_ids"]), 1 - torch.from_numpy(BEIT3["padding_mask"])
    with torch.no_grad():
        encoded = model.encoder(torch.from_numpy(BEIT3[f"{name}.image"]), ids, mask)
    for part, value in (("img_feat", encoded.image), ("text_feat", encoded.text), ("cls_feat", encoded.objects[:, 0])):
        np.testing.assert_allclose(value, BEIT3[f"{name}.{part}"], atol=2e-5, rtol=0)


def test_beit3_weights_that_do_not_fit_are_refused():
    """A checkpoint for another model size, or with broken weights, is named, not half loaded."""
    weights, key = read_tensors(REFERENCE / "beit3_pretrain_tiny.safetensors"), "beit3.vision_embed.proj.weight"
    with pytest.raises(CheckpointError, match="does not fit the encoder"):
        load_beit3(SimVGForGrounding(SimVGConfig.tiny()), weights)
    broken = weights | {"beit3.vision_embed.proj.bias": torch.full((24,), torch.inf)}
    with pytest.raises(CheckpointError, match=r"vision_embed\.proj\.bias: NaN or infinite"):
        load_beit3(SimVGForGrounding(_beit3_size()), broken)
    with pytest.raises(CheckpointError, match=r"vision_embed\.proj\.weight: \(24, 768\) instead of \(24, 3, 32, 32\)"):
        load_beit3(SimVGForGrounding(_beit3_size()), weights | {key: weights[key].flatten(1)})
    with pytest.raises(CheckpointError, match="not a BEiT-3 checkpoint"):
        load_beit3(SimVGForGrounding(SimVGConfig.tiny()), {"other": torch.zeros(1)})

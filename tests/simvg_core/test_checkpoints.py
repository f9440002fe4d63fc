"""Published weights are read exactly, and anything else is refused by name."""

import json
import os
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
from simvg_core.errors import CheckpointError, MismatchError
from simvg_core.model import SimVGForGrounding
from simvg_core.official_names import UNUSED_OFFICIAL_KEYS, official_sources

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
REC = REFERENCE / "simvg_tiny_rec.safetensors"
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


def test_sizes_are_read_from_the_weights(tensors):
    """A config can be found from the shapes alone, but for the number of heads."""
    found = config_from_tensors(tensors, num_attention_heads=4)
    expected = config_from_official(REFERENCE / "simvg_tiny_rec_config.json")
    for name in ("hidden_size", "num_hidden_layers", "image_size", "patch_size", "num_decoder_layers", "num_queries"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.text_pooling == "official"
    with pytest.raises(CheckpointError, match="64 wide, which is neither base"):
        config_from_tensors(tensors)
    with pytest.raises(CheckpointError, match="not an official SimVG checkpoint"):
        config_from_tensors({})


def test_settings_files_that_lack_keys_are_refused(tmp_path):
    """The missing key, or the unreadable file, is named."""
    with pytest.raises(CheckpointError, match="lack 'model'"):
        config_from_official({})
    with pytest.raises(CheckpointError, match="not a readable JSON file"):
        config_from_official(tmp_path / "none.json")


@pytest.mark.parametrize(("size", "name"), [("base", "refcoco_base"), ("large", "refcoco_large")])
def test_full_size_models_have_exactly_the_official_keys(size, name):
    """Every official key and shape of base and large is a weight here, and nothing is left over."""
    keys = json.loads((REFERENCE / "official_keys_full_size.json").read_text())
    official = keys[next(key for key in keys if size in key)] if name not in keys else keys[name]
    config = getattr(SimVGConfig, size)()
    with torch.device("meta"):
        own = SimVGForGrounding(config).state_dict()
    sources = official_sources(config)
    assert set(sources) == set(own)
    for ours, theirs in sources.items():
        assert sum(np.prod(official[key]) for key in theirs) == own[ours].numel(), ours
    assert {key for group in sources.values() for key in group} | UNUSED_OFFICIAL_KEYS == set(official)


@pytest.mark.parametrize(("image", "patch"), BEIT3["targets"].tolist())
def test_beit3_pretraining(image, patch):
    """Positions and patch kernels are resized as published, and the encoder computes the published features."""
    config = SimVGConfig.tiny(
        hidden_size=24,
        num_attention_heads=4,
        intermediate_size=48,
        num_hidden_layers=2,
        vocab_size=60,
        image_size=image,
        patch_size=patch,
        head_size=32,
        text_pooling="official",
    )
    model = SimVGForGrounding(config).eval()
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


def test_beit3_of_another_width_is_refused():
    """A checkpoint for another model size is named, not half loaded."""
    weights = read_tensors(REFERENCE / "beit3_pretrain_tiny.safetensors")
    with pytest.raises(CheckpointError, match="does not fit the encoder"):
        load_beit3(SimVGForGrounding(SimVGConfig.tiny()), weights)
    with pytest.raises(CheckpointError, match="not a BEiT-3 checkpoint"):
        load_beit3(SimVGForGrounding(SimVGConfig.tiny()), {"other": torch.zeros(1)})

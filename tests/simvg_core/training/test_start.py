"""What a run starts from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from simvg_core.checkpoints import config_from_official
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.model import SimVGForGrounding
from simvg_core.training.schedule import parameter_groups
from simvg_core.training.settings import SetSettings, TrainSettings, read_settings
from simvg_core.training.start import load_start, model_config, of_folder, read_tokenizer
from simvg_core.training.train import Trainer
from simvg_core.words import FastPieces

REFERENCE = Path(__file__).parents[2] / "data/reference"
CONFIGS = Path(__file__).parents[3] / "simvg_core/training/configs"
SHIPPED = Path(__file__).parents[3] / "models" / "line-small"
PLANT = next(
    text
    for text in re.findall(
        r"^```yaml\n(.*?)^```", (SHIPPED.parents[1] / "docs/training.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    if text.startswith("# plant.yaml")
)


def test_official_weights_are_a_start() -> None:
    """All of them."""
    model = SimVGForGrounding(config_from_official(REFERENCE / "simvg_tiny_rec_config.json"))
    told = load_start(model, REFERENCE / "simvg_tiny_rec.safetensors")
    assert told["kind"] == "SimVG" and told["loaded"] > 200


def _started(start: Path, **model: Any) -> TrainSettings:
    """A run of the toy that starts from a file."""
    model = {"tokenizer": "xlm_roberta", **model}
    return TrainSettings(data=("x",), max_steps=1, architecture="tiny", model=model, start_from=str(start))


def test_a_run_from_official_weights_pools_texts_as_they_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Unless its settings name another pooling, which is warned of; BEiT-3 weights know of none."""
    official = REFERENCE / "simvg_tiny_rec.safetensors"
    assert model_config(_started(official)).text_pooling == "official"
    assert model_config(_started(REFERENCE / "beit3_pretrain_tiny.safetensors")).text_pooling == "masked"
    standing = model_config(_started(official, attention="standing", box_head="pointer"))
    assert standing.text_pooling == "masked"  # it computes no padded text
    named = model_config(_started(official, text_pooling="masked"))
    assert named.text_pooling == "masked" and not caplog.messages
    told = load_start(SimVGForGrounding(named), official)
    assert told["changed"] == {"text_pooling": ["official", "masked"]}
    (warning,) = caplog.messages
    assert warning.endswith("its weights were trained with text_pooling='official', this run has 'masked'")
    assert load_start(SimVGForGrounding(model_config(_started(official))), official)["changed"] == {}
    with pytest.raises(CheckpointError, match=r"gone\.pth is not there, .* put it there, or name text_pooling"):
        model_config(_started(tmp_path / "gone.pth"))
    assert model_config(_started(tmp_path / "gone.pth", text_pooling="official")).text_pooling == "official"


def test_beit3_weights_fill_the_encoder_and_leave_the_heads() -> None:
    """Positions of another grid are resized."""
    config = SimVGConfig.tiny(
        hidden_size=24, num_attention_heads=4, intermediate_size=48, num_hidden_layers=2, vocab_size=60
    )
    model = SimVGForGrounding(config)
    head = model.token_branch.project.weight.detach().clone()
    told = load_start(model, REFERENCE / "beit3_pretrain_tiny.safetensors")
    assert told["kind"] == "BEiT-3" and len(told["interpolated"]) == 2
    assert torch.equal(head, model.token_branch.project.weight)


def test_a_model_folder_is_a_start_and_tells_what_it_did_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stage 2 starts from stage 1; a setting that changes what the weights compute does not pass unseen."""
    first = SimVGForGrounding(SimVGConfig.tiny(text_pooling="official", loss_weights={"decoder": 1.0}))
    first.save_pretrained(tmp_path)
    second = SimVGForGrounding(SimVGConfig.tiny())
    told = load_start(second, tmp_path)
    assert told["changed"] == {"text_pooling": ["official", "masked"]}
    assert "trained with text_pooling='official', this run has 'masked'" in caplog.text
    assert torch.equal(first.encoder.words.weight, second.encoder.words.weight)


def test_a_start_without_the_new_layers_is_taken(tmp_path: Path) -> None:
    """Layers that only this run's model has keep their start values and are named; object tokens are averaged, and a
    gate that was fitted to the old weights is left behind."""
    line = {
        "attention": "standing",
        "num_queries": 3,
        "num_decoder_layers": 0,
        "box_head": "pointer",
        "patch_embedding": "convolutional",
        "patch_size": 16,
        "stem_widths": (8, 8, 8, 8),
    }
    first = SimVGForGrounding(SimVGConfig.tiny(num_object_tokens=3, gate_heads=2, loss_weights={"token": 1.0}, **line))
    torch.nn.init.normal_(first.encoder.object_tokens)
    first.save_pretrained(tmp_path)
    losses = {"token": 1.0, "first": 1.0}
    second = SimVGForGrounding(SimVGConfig.tiny(glimpse_side=3, loss_weights=losses, **line))
    told = load_start(second, tmp_path)
    assert told["new"] and all("glimpse" in name or ".fine." in name for name in told["new"])
    assert torch.equal(first.encoder.words.weight, second.encoder.words.weight)
    torch.testing.assert_close(second.encoder.object_tokens, first.encoder.object_tokens.mean(0, keepdim=True))


def test_words_that_the_start_does_not_know_are_new(tmp_path: Path) -> None:
    """They keep their start values behind those of the start; one that lies under another id is refused."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "bolt": 4, "cap": 5}
    first = SimVGForGrounding(SimVGConfig.tiny(tokenizer="fast", vocab_size=6))
    first.save_pretrained(tmp_path)
    FastPieces(Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))).save(tmp_path)
    larger = SimVGConfig.tiny(tokenizer="fast", vocab_size=7)
    second = SimVGForGrounding(larger)
    new = second.encoder.words.weight[6].clone()
    load_start(second, tmp_path, "all", FastPieces(Tokenizer(WordLevel(vocabulary | {"gear": 6}, unk_token="<unk>"))))
    assert torch.equal(second.encoder.words.weight[:6], first.encoder.words.weight)
    assert torch.equal(second.encoder.words.weight[6], new)
    moved = FastPieces(Tokenizer(WordLevel(vocabulary | {"gear": 5, "cap": 6}, unk_token="<unk>")))
    with pytest.raises(CheckpointError, match="has 'cap' under another id; set tokenizer"):
        load_start(SimVGForGrounding(larger), tmp_path, "all", moved)


def test_an_encoder_alone_is_a_start_for_other_heads_and_pictures(tmp_path: Path) -> None:
    """Heads keep their start values, positions are resized to the grid, and both are told."""
    first = SimVGForGrounding(SimVGConfig.tiny(image_size=64))
    place = torch.randn(first.config.hidden_size)
    first.encoder.image_positions.weight.data[:] = place  # the same everywhere, so resized it is the same again
    first.save_pretrained(tmp_path)
    second = SimVGForGrounding(SimVGConfig.tiny(image_size=128, num_queries=2))
    head = second.token_branch.project.weight.detach().clone()
    told = load_start(second, tmp_path, "encoder")
    assert torch.equal(first.encoder.words.weight, second.encoder.words.weight)
    assert torch.equal(head, second.token_branch.project.weight)
    assert told["part"] == "encoder" and all(not name.startswith("encoder.") for name in told["new"])
    table = second.encoder.image_positions.weight.detach()
    assert len(table) > len(first.encoder.image_positions.weight)
    torch.testing.assert_close(table, place.expand_as(table))


def test_a_whole_model_is_a_start_for_larger_pictures(tmp_path: Path) -> None:
    """Everything is taken, heads too; positions are resized to the finer grid, and that is told."""
    first = SimVGForGrounding(SimVGConfig.tiny(image_size=64))
    place = torch.randn(first.config.hidden_size)
    first.encoder.image_positions.weight.data[:] = place
    first.save_pretrained(tmp_path)
    told = load_start(second := SimVGForGrounding(SimVGConfig.tiny(image_size=128)), tmp_path)
    assert told["interpolated"] == ["encoder.image_positions.weight"] and not told["new"]
    assert torch.equal(first.token_branch.project.weight, second.token_branch.project.weight)
    table = second.encoder.image_positions.weight.detach()
    assert len(table) > len(first.encoder.image_positions.weight)
    torch.testing.assert_close(table, place.expand_as(table))
    assert load_start(SimVGForGrounding(first.config), tmp_path)["interpolated"] == []


def test_a_part_of_a_file_is_refused() -> None:
    """Files of published weights are taken as they are."""
    model = SimVGForGrounding(config_from_official(REFERENCE / "simvg_tiny_rec_config.json"))
    with pytest.raises(CheckpointError, match="start_part=encoder is for model folders"):
        load_start(model, REFERENCE / "simvg_tiny_rec.safetensors", "encoder")


def test_a_start_of_another_size_is_refused(tmp_path: Path) -> None:
    """With the name of the folder."""
    SimVGForGrounding(SimVGConfig.tiny()).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit the model of this run"):
        load_start(SimVGForGrounding(SimVGConfig.tiny(num_queries=2)), tmp_path)


@pytest.mark.parametrize("part", ["all", "encoder"])
def test_a_start_that_lacks_weights_is_refused(part: str, tmp_path: Path) -> None:
    """A layer that is missing in the file is no new layer of this run: it would be trained from random numbers."""
    SimVGForGrounding(SimVGConfig.tiny()).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("encoder.layers.1.")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"do not fit its config\.json: .*missing_keys.*encoder\.layers\.1\."):
        load_start(SimVGForGrounding(SimVGConfig.tiny()), tmp_path, part)


def test_a_truncated_start_is_refused(tmp_path: Path) -> None:
    """With the folder and the remedy."""
    SimVGForGrounding(SimVGConfig.tiny()).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"the weights in .* cannot be read .*copy the folder again"):
        load_start(SimVGForGrounding(SimVGConfig.tiny()), tmp_path)


def test_published_models_need_their_tokenizer() -> None:
    """The remedy names file and setting."""
    settings = TrainSettings(sets=(SetSettings(path="x"),), max_steps=1, architecture="base")
    with pytest.raises(ConfigurationError, match=r"set tokenizer to a folder that holds beit3\.spm"):
        read_tokenizer(settings, model_config(settings))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_builds_its_model_and_optimiser_groups(path: Path) -> None:
    """At full size, without memory for it; each weight is in one group, and the encoder's have its rate."""
    settings = replace(read_settings(path), start_from=None)  # what it would start from is not here
    with torch.device("meta"):
        model = SimVGForGrounding(model_config(settings))
    groups = parameter_groups(model, settings.weight_decay, settings.encoder_rate)
    factors = {id(weight): group["factor"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(factors)
    assert factors == {
        id(weight): settings.encoder_rate if name.startswith("encoder.") else 1.0
        for name, weight in model.named_parameters()
    }


PUBLISHED: dict[str, dict[str, Any]] = {
    "refcoco-base-one-stage": {"learning_rate": 5e-4, "max_epochs": 30, "decay_epochs": (25,), "ema": 0},
    "refcoco-base-two-stage-1": {"learning_rate": 5e-4, "max_epochs": 30, "decay_epochs": (25,), "ema": 0.999},
    "refcoco-base-two-stage-2": {"learning_rate": 3e-4, "max_epochs": 20, "decay_epochs": (15,), "ema": 0},
    "refcoco-large-one-stage": {"learning_rate": 5e-4, "max_epochs": 30, "decay_epochs": (25,), "ema": 0},
    "refcoco-large-two-stage-1": {"learning_rate": 5e-4, "max_epochs": 30, "decay_epochs": (21, 27), "ema": 0},
    "refcoco-large-two-stage-2": {"learning_rate": 1e-4, "max_epochs": 10, "decay_epochs": (7,), "ema": 0},
    "grefcoco-base": {"learning_rate": 5e-4, "max_epochs": 200, "decay_epochs": (180,), "jitter": None},
    "grefcoco-base-two-stage-1": {"learning_rate": 5e-4, "max_epochs": 200, "decay_epochs": (180,), "ema": 0},
    "grefcoco-base-two-stage-2": {"learning_rate": 5e-4, "max_epochs": 100, "decay_epochs": (90,), "jitter": None},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_hold_the_published_values(name: str) -> None:
    """Those of the official repository, and what they all have in common."""
    settings = read_settings(CONFIGS / f"{name}.yaml")
    size = "large" if "large" in name else "base"
    stage = next((n for n in (1, 2) if name.endswith(f"stage-{n}")), None)
    batches = {"large": 4, "base": 16 if name == "refcoco-base-two-stage-1" else 32}
    fields = PUBLISHED[name] | {
        "optimizer": "adam_amsgrad", "betas": (0.9, 0.98), "epsilon": 1e-9, "weight_decay": 0.0, "encoder_rate": 0.1,
        "clip": 0.15, "schedule": "steps", "decay": 0.1, "seed": 6666, "precision": "fp32", "batch_size": batches[size],
        "warmup_epochs": 0 if name == "refcoco-large-two-stage-2" else 3,
    }  # fmt: skip
    assert {key: getattr(settings, key) for key in fields} == fields
    config = model_config(replace(settings, start_from=None))
    several = name.startswith("grefcoco")
    paper: SimVGConfig = getattr(SimVGConfig, size)(num_queries=10 if several else 1)
    for key in ("hidden_size", "num_hidden_layers", "image_size", "patch_size", "num_queries", "drop_path_rate"):
        assert getattr(config, key) == getattr(paper, key)
    assert config.loss_weights == ({"decoder": 1.0} if stage == 1 else paper.loss_weights)
    assert config.score_threshold == (0.7 if several else 0.0)
    assert (settings.jitter is None) == several
    if stage == 2:
        assert settings.start_from == read_settings(CONFIGS / f"{name[:-1]}1.yaml").output + "/model"


def test_half_precision_of_16_bits_needs_a_gpu(toy_settings: dict[str, Any]) -> None:
    """On a CPU auto is the one to take."""
    with pytest.raises(ConfigurationError, match="fp16 needs a CUDA device, this one is cpu; use auto"):
        Trainer(TrainSettings(**toy_settings | {"precision": "fp16"}))


def test_precision_is_that_of_the_processors_instructions(toy_settings: dict[str, Any]) -> None:
    """What has no instructions for bf16 is several times faster without it."""
    has = any("avx512_bf16" in line for line in Path("/proc/cpuinfo").read_text().splitlines())
    trainer = Trainer(TrainSettings(**toy_settings | {"precision": "auto"}))
    assert trainer.precision == ("bf16" if has else "fp32")


def test_the_documented_start_on_a_plants_own_pictures_works(
    worded_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The page's YAML file on another set: the shipped model's structure is taken from its folder, which is told, and
    so is that its calibration begins anew; what comes of it starts another run."""
    file = tmp_path / "plant.yaml"
    file.write_text(PLANT)
    short = {"max_steps": 2, "max_minutes": None, "max_epochs": None, "batch_size": 2, "workers": 0, "device": "cpu"}
    sets = {"sets": (SetSettings(path=str(worded_set)),), "validation_set": SetSettings(path=str(worded_set))}
    settings = replace(read_settings(file), **short, **sets, output=str(tmp_path / "run"), start_from=str(SHIPPED))
    caplog.set_level("INFO")
    trainer = Trainer(settings)
    shipped = SimVGConfig.from_pretrained(SHIPPED)
    assert (
        trainer.config.num_hidden_layers
        == shipped.num_hidden_layers
        == trainer.weights["of_folder"]["num_hidden_layers"]
    )
    assert not trainer.weights["new"]
    assert trainer.weights["changed"]["score_threshold"] == [shipped.score_threshold, 0.5]
    assert any("taken over from" in text and "'num_hidden_layers': 4" in text for text in caplog.messages)
    trainer.run()
    model = Trainer(replace(settings, max_steps=3), resume=True).run()
    assert not Trainer(replace(settings, start_from=str(model), output=str(tmp_path / "again"))).weights["new"]


def test_a_named_setting_wins_over_the_folders(tmp_path: Path) -> None:
    """Rendered sets, parts of a model, and files of weights take nothing over."""
    losses = {"token": 1.0, "first": 1.0, "turn": 2.0}
    SimVGConfig.line_small(num_hidden_layers=4, glimpse_side=5, loss_weights=losses).save_pretrained(tmp_path)
    own = TrainSettings(sets=(SetSettings(path="x"),), max_steps=1, start_from=str(tmp_path))
    assert of_folder(own) == {"num_hidden_layers": 4, "glimpse_side": 5, "loss_weights": losses}
    assert of_folder(replace(own, model={"glimpse_side": 0, "loss_weights": {}})) == {"num_hidden_layers": 4}
    for other in (
        {"sets": (), "data": ("x",)},
        {"start_part": "encoder"},
        {"start_from": "gone"},
        {"start_from": None},
    ):
        assert of_folder(replace(own, **other)) == {}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read .*copy the folder again"):
        of_folder(own)

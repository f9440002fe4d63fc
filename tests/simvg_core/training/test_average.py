"""The mean of models."""

from __future__ import annotations

import copy
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from typer.testing import CliRunner

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, InputError
from simvg_core.model import SimVGForGrounding
from simvg_core.training.average import average
from simvg_core.training.cli import app
from simvg_core.training.settings import TrainSettings
from simvg_core.training.train import Trainer
from simvg_core.words import LEARNED, FastPieces, read_fast_pieces
from tests.simvg_core.gated import give_gate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


@pytest.fixture
def models(toy_settings: dict[str, Any], tmp_path: Path) -> list[Path]:
    """Two short runs."""
    settings = TrainSettings(**toy_settings | {"max_steps": 1})
    return [Trainer(replace(settings, seed=seed, output=str(tmp_path / f"run-{seed}"))).run() for seed in (1, 2)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = SimVGForGrounding.from_pretrained(folder).state_dict()
    return found


def test_the_mean_is_that_of_every_weight(models: list[Path], tmp_path: Path) -> None:
    """And it is a model folder, with the words of all; its gate, fitted to other weights, is gone."""
    for folder, words in zip(models, ({"bolt": 30}, {"bolt": 20, "cap": 50}), strict=True):
        (folder / LEARNED).write_text(json.dumps(words))
    give_gate(models[0], [0.5], [1.0])
    out = tmp_path / "mean"
    done = CliRunner().invoke(app, ["average", *map(str, models), "--out", str(out), "--weight", "3", "--weight", "1"])
    assert done.exit_code == 0 and "mean of 2 models" in done.stdout
    one, two, mean = (weights(folder) for folder in (*models, out))
    for name, value in mean.items():
        torch.testing.assert_close(value, (0.75 * one[name].double() + 0.25 * two[name].double()).to(value.dtype))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert json.loads((out / LEARNED).read_text()) == {"bolt": 30, "cap": 50}
    assert SimVGConfig.from_pretrained(out).gate_floors == []


def test_fewer_words_count_where_they_are(models: list[Path], tmp_path: Path) -> None:
    """A model of before the vocabulary grew: its words are averaged, the others stay those of the first."""
    model, pieces = SimVGForGrounding.from_pretrained(models[1]), read_fast_pieces(models[1])
    words = sorted(pieces.tokenizer.get_vocab(), key=pieces.tokenizer.token_to_id)[:600]
    fewer = dict(model.state_dict())
    fewer["encoder.words.weight"] = fewer["encoder.words.weight"][:600]
    config = copy.deepcopy(model.config)
    config.vocab_size = 600
    smaller = SimVGForGrounding(config)
    smaller.load_state_dict(fewer)
    smaller.save_pretrained(models[1])
    FastPieces(Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))).save(models[1])
    one, mean = weights(models[0]), weights(average(models, tmp_path / "out"))
    half = (one["encoder.words.weight"][:600] + fewer["encoder.words.weight"]) / 2
    torch.testing.assert_close(mean["encoder.words.weight"][:600], half)
    torch.testing.assert_close(mean["encoder.words.weight"][600:], one["encoder.words.weight"][600:])


def test_what_does_not_mix_is_refused(models: list[Path], tmp_path: Path) -> None:
    """One model, weights that do not fit, another architecture."""
    with pytest.raises(InputError, match="1 model folders; give at least two"):
        average(models[:1], tmp_path / "out")
    with pytest.raises(InputError, match="give one above 0 for each"):
        average(models, tmp_path / "out", [1.0, 0.0])
    for wrong in (math.nan, math.inf):
        with pytest.raises(InputError, match="give one above 0 for each"):
            average(models, tmp_path / "out", [1.0, wrong])
    config = json.loads((models[1] / "config.json").read_text())
    (models[1] / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1}))
    shutil.copytree(models[0], tmp_path / "other words")
    FastPieces(Tokenizer(WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "other": 4}, unk_token="<unk>"))).save(
        tmp_path / "other words"
    )
    with pytest.raises(CheckpointError, match=r"has words that .* has not, or has under other ids"):
        average([models[0], tmp_path / "other words"], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"is another model than .*num_attention_heads differ"):
        average(models, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_layers_that_only_one_has_are_refused(models: list[Path], toy_settings: dict[str, Any], tmp_path: Path) -> None:
    """Whichever comes first: their mean would be a share of one model's."""
    losses = {"token": 1.0, "pointer": 1.0, "heat_map": 1.0, "dense": 1.0, "existence": 0.5, "turn": 1.0}
    fields = {
        "max_steps": 1,
        "output": str(tmp_path / "turn"),
        "model": {**toy_settings["model"], "loss_weights": losses},
    }
    turning = Trainer(TrainSettings(**toy_settings | fields)).run()
    for folders in ([models[0], turning], [turning, models[0]]):
        with pytest.raises(CheckpointError, match=r"only one has auxiliary\.turn\.bias, auxiliary\.turn\.weight"):
            average(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()

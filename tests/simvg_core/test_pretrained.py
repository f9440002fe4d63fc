"""A model folder is read whole or refused, whoever reads it."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError
from simvg_core.model import SimVGForGrounding


@pytest.fixture
def folder(tmp_path):
    """A saved toy."""
    torch.manual_seed(0)
    SimVGForGrounding(SimVGConfig.tiny()).save_pretrained(tmp_path)
    return tmp_path


def _without_a_layer(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("encoder.layers.2.")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def _with_a_stranger(folder):
    weights = load_file(folder / "model.safetensors") | {"stranger": torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _truncated(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _of_another_size(folder):
    SimVGConfig.tiny(vocab_size=321).save_pretrained(folder)


def _not_finite(folder):
    weights = load_file(folder / "model.safetensors")
    weights["encoder.words.weight"][3, 5] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _without_weights(folder):
    (folder / "model.safetensors").unlink()


CASES = {
    "missing layer": (_without_a_layer, r"do not fit its config\.json: .*missing_keys.*encoder\.layers\.2\."),
    "unexpected weight": (_with_a_stranger, r"do not fit its config\.json: .*unexpected_keys.*stranger"),
    "truncated": (_truncated, "cannot be read .*copy the folder again, or train it anew"),
    "another size": (_of_another_size, r"do not fit its config\.json: .*mismatched_keys.*encoder\.words\.weight.*321"),
    "NaN": (_not_finite, r"are NaN or infinite: encoder\.words\.weight\. Train or copy it anew"),
    "no weights": (_without_weights, r"has no model\.safetensors; copy or train the weights"),
}


@pytest.mark.filterwarnings("ignore")  # transformers warns of what is refused here
@pytest.mark.parametrize(("harm", "message"), CASES.values(), ids=CASES)
def test_a_folder_that_is_not_whole_is_refused(harm, message, folder):
    """The folder, what is wrong with it, and the remedy; nothing is filled with random numbers."""
    harm(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        SimVGForGrounding.from_pretrained(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"is not a model folder: it has no config\.json"),
        ('{"model_type": "simvg", "hidd', "cannot be read .*copy the folder again"),
        ("[]", "cannot be read .*copy the folder again"),
    ],
    ids=["missing", "truncated", "no settings"],
)
def test_settings_that_are_not_there_are_no_usual_ones(text, message, tmp_path):
    """transformers would take a folder without config.json for the paper's model."""
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    for source in (tmp_path, str(tmp_path)):
        with pytest.raises(CheckpointError, match=message) as caught:
            SimVGConfig.from_pretrained(source)
        assert str(tmp_path) in str(caught.value)
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        SimVGConfig.from_pretrained(tmp_path / "nothing here")


def test_what_transformers_offers_is_kept(folder):
    """Settings by name, what was loaded, and other sizes where they are asked for."""
    model, info = SimVGForGrounding.from_pretrained(str(folder), output_loading_info=True, score_threshold=0.7)
    assert not info["missing_keys"] and model.config.score_threshold == 0.7 and not model.training
    other = SimVGForGrounding.from_pretrained(folder, vocab_size=321, ignore_mismatched_sizes=True)
    assert len(other.encoder.words.weight) == 321
    words = model.encoder.words.weight.std()
    assert 0.8 * words < other.encoder.words.weight.std() < 1.2 * words, "they start as in a new model"

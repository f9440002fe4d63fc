"""Settings are checked when they are given."""

import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError

LINE = {"auxiliary_heads": True, "composed_answers": True, "attention": "standing", "num_kinds": 25}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "sideways"}, "attention='sideways' is not known; use one of joint, standing"),
        ({"hidden_size": 100}, "hidden_size=100 is not a multiple of num_attention_heads=12"),
        ({"image_size": 100}, "image_size=100 is not a multiple of patch_size=32"),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0 must be at least 1"),
        ({"head_size": 30}, "head_size=30 must be a multiple"),
        ({"max_text_tokens": 2}, "max_text_tokens=2 must lie in 3"),
        ({"num_object_tokens": 2, "num_queries": 5}, "num_object_tokens=2 must be 1"),
        ({"attention": "standing", "text_pooling": "official"}, 'use "masked"'),
        ({"patch_embedding": "convolutional"}, "patch_size=32 needs 5 stem_widths"),
        ({"loss_weights": {"tokens": 1.0}}, r"unknown terms \['tokens'\]"),
        ({"loss_weights": {}}, "needs 'decoder' or 'token'"),
        ({"loss_weights": {"token": 1.0, "distill": 1.0}}, "'distill' needs both"),
        ({"num_decoder_layers": 0}, "builds no decoder branch"),
        ({"heat_guidance": True}, "heat_guidance needs auxiliary_heads=True"),
        ({"score_temperature": 0.0}, "score_temperature=0.0 must be above 0"),
        ({"score_threshold": 1.2}, "score_threshold=1.2 must lie in 0 … 1"),
        ({"dropout": 1.5}, "dropout=1.5 must lie in 0 … 1"),
        ({"image_mean": [1.0, 2.0]}, r"image_mean=\[1\.0, 2\.0\] must be three numbers, of R, G and B"),
        ({"image_std": [58.0, 0.0, 57.0]}, r"image_std=\[58\.0, 0\.0, 57\.0\] must be above 0"),
        ({"stem_widths": [8, 0]}, r"stem_widths=\[8, 0\] must each be at least 1"),
        ({"num_decoder_layers": -1, "loss_weights": {"token": 1.0}}, "num_decoder_layers=-1 must be at least 0"),
        ({"num_kinds": -1}, "num_kinds=-1 must be at least 0"),
        ({"no_object_weight": -0.1}, r"no_object_weight=-0\.1 must be at least 0"),
        ({"gate_width": 0}, "gate_width=0 must be at least 1"),
        ({"nms_iou": -0.5}, r"nms_iou=-0\.5 must lie in 0 … 1"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1 leaves nothing of the last layer"),
        ({"hiden_size": 768}, "has no setting 'hiden_size'"),
        ({"hidden_size": "64"}, "hidden_size='64' is not a whole number"),
        ({"hidden_size": 64.0}, r"hidden_size=64\.0 is not a whole number"),
        ({"num_queries": None}, "num_queries=None is not a whole number"),
        ({"num_queries": True}, "num_queries=True is not a whole number"),
        ({"dropout": "1e-1"}, "dropout='1e-1' is not a finite number"),
        ({"score_bias": float("nan")}, "score_bias=nan is not a finite number"),
        ({"nms_iou": [0.3]}, r"nms_iou=\[0\.3\] is not a finite number or null"),
        ({"auxiliary_heads": "no"}, "auxiliary_heads='no' is not true or false"),
        ({"attention": ["joint"]}, r"attention=\['joint'\] is not a text"),
        ({"stem_widths": "24"}, "stem_widths='24' is not a list of whole numbers"),
        ({"image_mean": [1.0, None, 1.0]}, r"image_mean=\[1\.0, None, 1\.0\] is not a list of finite numbers"),
        ({"cell_states": {"label": [1.0, 0.0]}}, "cell_states needs auxiliary_heads=True, composed_answers=True"),
        (LINE | {"cell_states": {"cap": [1.0, 0.0]}}, "cell_states names 'cap'.* can tell the states of hex_bolt"),
        (LINE | {"cell_states": {"label": [1.0, 0.0]}, "num_kinds": 21}, "num_kinds=21 can tell the states of nothing"),
        (LINE | {"cell_states": {"label": [0.0, 0.0]}}, r"cell_states\['label'\].* must be a temperature above 0"),
        (LINE | {"cell_states": {"label": 1.0}}, "cell_states.* is not a list of finite numbers for each name"),
        ({"loss_weights": {"decoder": "a"}}, r"loss_weights=\{'decoder': 'a'\} is not a finite number for each name"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused(settings, message):
    """The message gives the name, the value and what would do."""
    with pytest.raises(ConfigurationError, match=message):
        SimVGConfig(**settings)


@pytest.mark.parametrize("preset", ["base", "large", "tiny", "line_small"])
def test_presets_survive_saving(preset, tmp_path):
    """A preset written to disk and read again is the same."""
    config = getattr(SimVGConfig, preset)(num_queries=1, num_object_tokens=1)
    config.save_pretrained(tmp_path)
    again = SimVGConfig.from_pretrained(tmp_path)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert again.num_patches == config.grid_size**2

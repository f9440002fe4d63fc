"""Training aids."""

from __future__ import annotations

import pytest
import torch

from simvg_core.auxiliary import AuxiliaryHeads, DenseAnswers, dense_loss, turn_loss
from simvg_core.configuration import SimVGConfig
from simvg_core.lineworld.vocabulary import KINDS as KINDS_OF_LINE
from simvg_core.lineworld.vocabulary import NUM_DENSE_KINDS

GRID, KINDS, COLORS = 10, 2, 3
# a plate that fills the picture, and a washer of one cell on it
SCENE = {
    "boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.35, 0.35, 0.1, 0.1]]),
    "kinds": torch.tensor([0, 1]),
    "colors": torch.tensor([0, 1]),
    "weights": torch.ones(2),
}


def answers(plate: int = 0, washer: int = 1, plate_color: int = 0, washer_color: int = 1) -> DenseAnswers:
    """What every cell says: the given kinds and colours on plate and washer."""
    kinds = torch.zeros(1, GRID, GRID, KINDS + 1)
    colors = torch.zeros(1, GRID, GRID, COLORS)
    kinds[0, :, :] = torch.eye(KINDS + 1)[plate] * 5
    colors[0, :, :] = torch.eye(COLORS)[plate_color] * 5
    kinds[0, 3, 3] = torch.eye(KINDS + 1)[washer] * 5
    colors[0, 3, 3] = torch.eye(COLORS)[washer_color] * 5
    boxes = torch.full((1, GRID * GRID, 4), 0.5)
    return DenseAnswers(kinds.flatten(1, 2), colors.flatten(1, 2), boxes)


def test_states_are_told_by_the_classes_of_cells() -> None:
    """Log-odds of the bad state against the usual one, calibrated; of none where no kind is."""
    config = SimVGConfig.line_small(num_kinds=NUM_DENSE_KINDS, num_colors=11)
    heads = AuxiliaryHeads(config).eval()
    image = torch.randn(2, config.num_patches, config.head_size)
    with torch.no_grad():
        kinds = heads.cells(image).kinds
        found = heads.states(image, {"label": [0.5, 1.0], "hex_bolt": [2.0, 0.0]})
    label, crooked = KINDS_OF_LINE.index("label"), len(KINDS_OF_LINE) + 3
    bolt, loose = KINDS_OF_LINE.index("hex_bolt"), len(KINDS_OF_LINE)
    expected = [(kinds[..., crooked] - kinds[..., label]) / 0.5 + 1, (kinds[..., loose] - kinds[..., bolt]) / 2]
    torch.testing.assert_close(found, torch.stack(expected, dim=-1), atol=1e-4, rtol=1e-4)
    assert heads.states(image, {}) is None


def test_small_and_large_things_count_alike() -> None:
    """To call a washer a plate costs what it costs to call a plate a washer, whatever their cells."""
    right = dense_loss(answers(), [SCENE], GRID)
    wrong_washer = dense_loss(answers(washer=0), [SCENE], GRID) - right
    wrong_plate = dense_loss(answers(plate=1), [SCENE], GRID) - right
    assert wrong_washer > 0
    torch.testing.assert_close(wrong_washer, wrong_plate)


def test_colours_of_small_and_large_things_count_alike() -> None:
    """The same for colours."""
    right = dense_loss(answers(), [SCENE], GRID)
    wrong_washer = dense_loss(answers(washer_color=2), [SCENE], GRID) - right
    wrong_plate = dense_loss(answers(plate_color=2), [SCENE], GRID) - right
    torch.testing.assert_close(wrong_washer, wrong_plate)


def test_an_empty_picture_is_all_background() -> None:
    """No instances: the loss asks for background everywhere and is finite."""
    empty = {
        "boxes": torch.zeros(0, 4),
        "kinds": torch.zeros(0, dtype=torch.long),
        "colors": torch.zeros(0, dtype=torch.long),
        "weights": torch.zeros(0),
    }
    twice = DenseAnswers(*(torch.cat([part, part]) for part in answers() if part is not None))
    mixed = dense_loss(twice, [SCENE, empty], GRID)
    assert torch.isfinite(dense_loss(answers(), [empty], GRID))
    assert torch.isfinite(mixed)


def test_what_counts_more_costs_more() -> None:
    """Half of the weight on the washer: its error is half of the loss, whatever the plate says."""
    heavy = {**SCENE, "weights": torch.tensor([1.0, 3.0])}
    right, heavy_right = dense_loss(answers(), [SCENE], GRID), dense_loss(answers(), [heavy], GRID)
    wrong = dense_loss(answers(washer=0), [SCENE], GRID) - right
    assert dense_loss(answers(washer=0), [heavy], GRID) - heavy_right > 1.4 * wrong


def test_ways_are_learnt_where_they_are_known() -> None:
    """A label's cell is told both ways, a plate's cells the plate's, and a cap's cell only that of its plate."""
    nothing = float("nan")
    scene = {
        "boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.35, 0.35, 0.1, 0.1], [0.75, 0.75, 0.1, 0.1]]),
        "turns": torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [nothing, nothing, 1.0, 0.0]]),
    }
    right = torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat(1, GRID * GRID, 1)
    right[0, 33] = torch.tensor([0.0, 1.0, 1.0, 0.0])
    free = right.clone()
    free[0, 77, :2] = 9.0
    assert turn_loss(free, [scene], GRID).item() == pytest.approx(0, abs=1e-6)
    for cell, way in ((33, 0), (33, 2), (77, 3), (0, 1)):
        wrong = right.clone()
        wrong[0, cell, way] += 1.0
        assert turn_loss(wrong, [scene], GRID).item() > 1e-4, (cell, way)
    none = {name: value[:0] for name, value in scene.items()}
    assert turn_loss(right, [none], GRID).item() == 0

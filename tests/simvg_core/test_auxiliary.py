"""Training aids."""

from __future__ import annotations

import torch

from simvg_core.auxiliary import DenseAnswers, dense_loss

GRID, KINDS, COLORS = 10, 2, 3
# a plate that fills the picture, and a washer of one cell on it
SCENE = {
    "boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.35, 0.35, 0.1, 0.1]]),
    "kinds": torch.tensor([0, 1]),
    "colors": torch.tensor([0, 1]),
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
    }
    mixed = dense_loss(DenseAnswers(*(torch.cat([part, part]) for part in answers())), [SCENE, empty], GRID)
    assert torch.isfinite(dense_loss(answers(), [empty], GRID))
    assert torch.isfinite(mixed)

"""Scores as probabilities: temperature and bias fitted on a validation set, and the threshold that serves it best.

A model's score of a question is its best answer's; it should be the chance that the question has a target. Temperature
and bias are fitted on what the network says of texts as they stand; answers that are put together from parts
(`SimVGConfig.composed_answers`) are made of such scores, and have a part in the threshold. What cells say of states
(`SimVGConfig.cell_states`) has a temperature and a bias of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from simvg_core.asked_words import AskedWords
from simvg_core.cell_states import STATE_KINDS, classes_of, told
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.reading import read
from simvg_core.training.metrics import Outcome, auc, calibration_error, f1_of
from simvg_core.training.refused import NOTHING, Refused, asked
from simvg_core.training.scoring import ask_model
from simvg_core.training.sets.sample import Sample, Task

THRESHOLDS = tuple(round(0.2 + 0.02 * step, 2) for step in range(38))
WORTHLESS = 1000.0
"""A temperature above this leaves of every score the same chance."""
LEAST_STATES = 30
"""Questions about a state, with and without a target, that its calibration takes."""
QUIET = 0.96
"""Share of the questions without a target that a threshold must leave unanswered, where one does: false alarms are what
makes people switch a system off."""


@dataclass(frozen=True)
class Calibration:
    """What to store with the model, the expected calibration error (0 … 1) before and after, of how many questions it
    was, and what was not asked (of the validation set's questions, as a worker would refuse them)."""

    temperature: float
    bias: float
    threshold: float
    ece_before: float
    ece_after: float
    questions: int = 0
    refused: Refused = NOTHING


def calibrate(
    model: SimVGForGrounding,
    processor: SimVGProcessor,
    samples: Sequence[Sample],
    task: Task,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Fits a model's scores by its token branch on a validation set, and stores what it finds in its config.

    Raises:
        InputError: too few of the samples can be asked, see `_both`. DataError: the pixels of an image are broken.
    """
    composed, config = model.config.composed_answers, model.config
    processor.config = config  # answers are read with the new calibration
    config.composed_answers = False
    try:
        outcomes, refused = _asked(model, processor, samples, task, progress)
        found = fit(outcomes, config, refused)
    finally:
        config.composed_answers = composed
    store(config, found)
    if not composed:
        return found
    fit_states(model, processor, samples, task)
    return rethreshold(model, processor, samples, task, found, progress)


def fit_states(
    model: SimVGForGrounding,
    processor: SimVGProcessor,
    samples: Sequence[Sample],
    task: Task,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fits how far a model's cells are believed about the states of things, on the questions about bad ones; stores it.
    Only of kinds of which they part these questions better than the texts do, by the area under the ROC curve, and that
    at least `LEAST_STATES` of them with and without a target are about.

    Raises:
        InputError: what the cells say tells nothing. DataError: the pixels of an image are broken.
    """
    config = processor.config = model.config
    config.cell_states, fitted = {}, dict[str, list[float]]()
    for kind in STATE_KINDS if model.auxiliary is not None and config.attention == "standing" else ():
        about = [one for one in samples if (said := told(read(one.text).part)) and said.kind == kind and said.bad]
        there = sum(bool(one.boxes_xyxy_px) for one in about)
        if classes_of(kind)[0] >= config.num_kinds or min(there, len(about) - there) < LEAST_STATES:
            continue
        answers = []
        for config.cell_states in ({}, {kind: [1.0, 0.0]}):
            found = ask_model(model, processor, about, task, branches=["token"], progress=progress).outcomes["token"]
            logits = _logits([outcome.score for outcome in found])
            answers.append((logits, np.array([outcome.there for outcome in found], bool)))
        by_text, by_cells = (auc(said[true].tolist(), said[~true].tolist()) or 0.0 for said, true in answers)
        if by_cells > by_text:
            fitted[kind] = [round(value, 4) for value in _maximum_likelihood(*answers[1])]
    config.cell_states = fitted


def rethreshold(
    model: SimVGForGrounding,
    processor: SimVGProcessor,
    samples: Sequence[Sample],
    task: Task,
    calibration: Calibration,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """With the threshold, and the error after, of a calibrated model as it is now; stores the threshold. A gate lowers
    scores, so that another one serves best.

    Raises:
        InputError: too few of the samples can be asked, see `_both`. DataError: the pixels of an image are broken.
    """
    config = processor.config = model.config
    outcomes, refused = _asked(model, processor, samples, task, progress)
    there = _both(outcomes, refused)
    found = replace(
        calibration,
        threshold=_best_threshold(outcomes, config, config.score_temperature, config.score_bias),
        ece_after=_error(np.array([outcome.score for outcome in outcomes]), there),
        refused=refused,
    )
    store(config, found)
    return found


def _asked(
    model: SimVGForGrounding,
    processor: SimVGProcessor,
    samples: Sequence[Sample],
    task: Task,
    progress: Callable[[int, int], None],
) -> tuple[list[Outcome], Refused]:
    """Of the texts that a worker would ask, and what it would not."""
    known, refused = asked(AskedWords(processor.text.words, model.config.composing), samples)
    outcomes = ask_model(model, processor, known, task, branches=["token"], progress=progress).outcomes["token"]
    return outcomes, refused


def _both(outcomes: Sequence[Outcome], refused: Refused) -> NDArray[np.bool_]:
    """(N,) whether there is a target; raises InputError where all or none have one."""
    there = np.array([outcome.there for outcome in outcomes], bool)
    if len(there) == 0 or there.all() or not there.any():
        why = f" ({refused})" if refused.count else ""
        raise InputError(
            f"calibration needs questions with and without a target, got {int(there.sum())} with and "
            f"{int((~there).sum())} without{why}; use a larger validation set, or other words."
        )
    return there


def raw_logits(outcomes: Sequence[Outcome], config: SimVGConfig) -> NDArray[np.float64]:
    """Logit differences as the network gave them, from scores under the calibration of `config`."""
    return (_logits([outcome.score for outcome in outcomes]) - config.score_bias) * config.score_temperature


def _logits(scores: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    kept = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(kept / (1 - kept)))


def fit(outcomes: Sequence[Outcome], config: SimVGConfig, refused: Refused = NOTHING) -> Calibration:
    """Fits temperature and bias by maximum likelihood, then picks the threshold with the most exact answers; `refused`
    is what was not asked.

    Raises:
        InputError: the outcomes are not both with and without targets, or the scores tell nothing of them.
    """
    there = _both(outcomes, refused)
    logits = raw_logits(outcomes, config)
    temperature, bias = _maximum_likelihood(logits, there)
    chances = 1 / (1 + np.exp(-(logits / temperature + bias)))
    return Calibration(
        temperature=temperature,
        bias=bias,
        threshold=_best_threshold(outcomes, config, temperature, bias),
        ece_before=_error(1 / (1 + np.exp(-logits)), there),
        ece_after=_error(chances, there),
        questions=len(outcomes),
        refused=refused,
    )


def _error(chances: NDArray[np.float64], there: NDArray[np.bool_]) -> float:
    error = calibration_error(chances.tolist(), there.tolist())
    assert error is not None, "there are outcomes"
    return error


def _maximum_likelihood(logits: NDArray[np.float64], there: NDArray[np.bool_]) -> tuple[float, float]:
    """Temperature and bias.

    Raises InputError where the likeliest is that a question has a target whatever its score says, or less likely for a
    higher one.
    """
    x, y = torch.from_numpy(logits), torch.from_numpy(_wanted(logits, there))
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x * log_scale.exp() + bias, y)
        loss.backward()
        return loss

    optimizer.step(closure)
    temperature = float(torch.exp(-log_scale.detach()))
    if temperature > WORTHLESS:
        raise InputError(
            f"the scores of {int(there.sum())} questions with a target are no higher than those of "
            f"{int((~there).sum())} without, so that they tell nothing; train on, or use a larger validation set."
        )
    return temperature, float(bias.detach())


def _wanted(logits: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The chances to fit: 1 and 0, but where some score parts all questions with a target from all without, which few
    do by chance, and no temperature is small enough. There those of Platt (1999, "Probabilistic outputs for support
    vector machines", section 2.2): one more question of each kind would not have surprised."""
    if logits[there].min() <= logits[~there].max():
        return there.astype(np.float64)
    some, none = int(there.sum()), int((~there).sum())
    return np.where(there, (some + 1) / (some + 2), 1 / (none + 2))


def _best_threshold(outcomes: Sequence[Outcome], config: SimVGConfig, temperature: float, bias: float) -> float:
    """The threshold with the highest mean of exact answers over questions with, and over those without a target; of
    those that are `QUIET`, where there are any."""
    there = np.array([outcome.there for outcome in outcomes])
    kept = np.zeros((len(outcomes), len(THRESHOLDS)), int)  # boxes are best first, so a threshold keeps the first few
    for row, outcome in enumerate(outcomes):
        logits = (_logits(outcome.scores) - config.score_bias) * config.score_temperature
        chances = 1 / (1 + np.exp(-(logits / temperature + bias)))
        kept[row] = (chances[:, None] >= np.array(THRESHOLDS)).sum(axis=0)
    exact = np.zeros(kept.shape, bool)
    for row, outcome in enumerate(outcomes):
        for count in set(kept[row].tolist()):
            exact[row, kept[row] == count] = f1_of(outcome.boxes[:count], outcome.truth) == 1.0
    quiet = exact[~there].mean(axis=0)
    value = exact[there].mean(axis=0) + quiet
    if (quiet >= QUIET).any():
        value[quiet < QUIET] = -1
    return THRESHOLDS[int(value.argmax())]


def store(config: SimVGConfig, calibration: Calibration) -> None:
    """Writes the calibration into a model's config."""
    config.score_temperature = calibration.temperature
    config.score_bias = calibration.bias
    config.score_threshold = calibration.threshold

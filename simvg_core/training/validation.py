"""What a run is scored on meanwhile."""

from __future__ import annotations

from pathlib import Path

import torch

from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training.data import LineSet
from simvg_core.training.evaluate import first_images
from simvg_core.training.grounding_source import open_grounding_set
from simvg_core.training.metrics import Summary, auc, summary
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.scoring import ask_model
from simvg_core.training.sets.open import RENDERED, find_format
from simvg_core.training.sets.sample import GroundingSet
from simvg_core.training.settings import TrainSettings

# The line's nouns that have a score of their own.
_NOUNS = ("missing_bolt", "loose_bolt", "crooked_label", "stain", "cap")


class Validation:
    """A data set of expressions, opened at once; or a rendered set, read anew for every score, for it may grow.

    Raises:
        SetError: there is no such data set, or the folder holds no set of any kind. A folder that is not there yet, or
            is empty, will be a rendered set.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.pictures = settings.evaluate_pictures
        self.data: GroundingSet | Path
        if settings.validation_set is not None:
            self.data = open_grounding_set(settings.validation_set)
        else:
            assert settings.validation is not None
            self.data = Path(settings.validation)
            if not _is_empty(self.data) and find_format(self.data) != RENDERED:
                self.data = open_for_scoring(self.data)

    @property
    def waits_for(self) -> Path | None:
        """The rendered set, while it holds no picture; else None."""
        if isinstance(self.data, Path) and not LineSet(self.data).names(may_be_empty=True):
            return self.data
        return None

    def scores(self, model: SimVGForGrounding, processor: SimVGProcessor, dtype: torch.dtype) -> Summary:
        """Of the branch that answers, see `summary`, with the AUC of some nouns.

        Raises:
            DataError, TruthError: a picture or record is broken, or there is none.
        """
        data = open_for_scoring(self.data) if isinstance(self.data, Path) else self.data
        branch = processor.config.answer_branch
        samples = first_images(data.samples(), self.pictures)
        rendered = isinstance(self.data, Path)
        outcomes = ask_model(
            model, processor, samples, data.task, branches=[branch], dtype=dtype, whole_pictures=rendered
        ).outcomes[branch]
        scores = summary(outcomes, processor.config.score_threshold)
        for noun in _NOUNS:
            if own := [outcome for outcome in outcomes if outcome.noun == noun]:
                scores[f"auc_{noun}"] = auc(
                    [outcome.score for outcome in own if outcome.there],
                    [outcome.score for outcome in own if not outcome.there],
                )
        return scores


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))

"""What a model makes of the words of texts, each in the parts that it is asked in. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from simvg_core.composing import rows_of
from simvg_core.derived import Cells
from simvg_core.questions import check_texts
from simvg_core.refusals import refusal, understood
from simvg_core.taught import things
from simvg_core.words import COMPLAINTS, WordPacker


class AskedWords:
    """A text's words are those of its parts: what only says where or which ("beside", "uppermost") need not be known.

    Args:
        composed: how texts are asked in parts (`SimVGConfig.composing`), if they are.
    """

    def __init__(self, words: WordPacker, composed: Cells | None) -> None:
        self._words, self._composed = words, composed
        self.complaint = lru_cache(COMPLAINTS)(self._complaint)

    def rows(self, texts: Sequence[str]) -> list[str]:
        """What a model is asked for these texts. Raises TextError for a bare string."""
        return rows_of(check_texts(texts), self._composed)

    def reads(self, text: str) -> bool:
        """Whether the model can read all that it is asked for a text."""
        return all(map(self._words.reads, self.rows([text])))

    def unknown(self, text: str) -> list[str]:
        """Words of a text that the model has never learned, in order."""
        return [word for row in self.rows([text]) for word in self._words.unknown_words(row)]

    def cut(self, text: str) -> str:
        """The words of a text that are too many for the model, "" if none. Raises TextError."""
        return next(filter(None, self._words.rows(self.rows([text]))[1]), "")

    def _complaint(self, text: str) -> str | None:
        """`complaint`: why a text should not be asked, in words, or None: the model does not know some of its words, or
        would answer another question than is meant."""
        unknown = next(filter(None, map(self._words.complaint, self.rows([text]))), None)
        if unknown is not None and self._composed is not None:
            unknown += f": it was taught {things()}"
        if self._composed is None or not all(map(understood, self.unknown(text))):  # what is misspelt may mean anything
            return unknown
        return refusal(text) or unknown

"""The small tokenizer of our own models, built from the grammar's words and a list of plain ones.

Known words are one piece each; any other is spelt from characters and common endings, so that no word is lost.
"""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from simvg_core.lineworld.language import NUMBERS
from simvg_core.lineworld.vocabulary import COLOR_WORDS, CONCEPTS, PLAIN_WORDS, SIZE_WORDS
from simvg_core.lineworld.wordings import NAMES, STATEMENTS
from simvg_core.model_folder import rewriting
from simvg_core.training.folder import make_folder
from simvg_core.words import clean_text

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_ENDINGS = ("s", "es", "ed", "ing", "er", "ers", "ly", "less", "able", "ness", "est", "en", "tion", "al", "y")
_GRAMMAR_WORDS = """
a an any the all both two three four five on at in left right top bottom upper lower half corner side middle center of
to above below under next nearest closest leftmost rightmost topmost highest lowest largest biggest smallest
"""


def grammar_words() -> list[str]:
    """Every word the grammar can say, held-out phrasings included, sorted."""
    words = set(_GRAMMAR_WORDS.split()) | set(NUMBERS.values())
    for concept in CONCEPTS:
        for singular, plural in concept.names + concept.held_out:
            words.update(clean_text(singular).split(), clean_text(plural).split())
        for sentence in concept.statements + concept.statements_held_out:
            words.update(clean_text(sentence).split())
    for forms in (*COLOR_WORDS.values(), *SIZE_WORDS.values()):
        words.update(forms)
    return sorted(words)


def _later_words() -> list[str]:
    """Words of the further wordings."""
    said = [form for found in NAMES.values() for name in found for form in name]
    said += [sentence for found in STATEMENTS.values() for sentence in found]
    return sorted({word for text in said for word in clean_text(text).split()})


def build_tokenizer() -> Tokenizer:
    """A word-piece tokenizer with <s>, <pad>, </s>, <unk> as ids 0 to 3; expects cleaned text."""
    characters = string.ascii_lowercase + string.digits + "%&+=_<>@$€£§°µ×~^|\\{}[]`ßøæœđłπΩ"
    pieces = [
        *SPECIAL,
        *characters,
        *(f"##{character}" for character in characters),
        *(f"##{ending}" for ending in _ENDINGS if len(ending) > 1),
        *grammar_words(),
        *(clean_text(word) for word in PLAIN_WORDS),
        *_later_words(),  # behind all others, whose ids the weights of earlier runs know
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocab=vocabulary, unk_token="<unk>", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def write_tokenizer(folder: Path) -> Path:
    """Writes tokenizer.json into a model folder. Raises ConfigurationError where nothing can be written into it."""
    path = make_folder(folder, "FOLDER") / "tokenizer.json"
    with rewriting(folder) as part:
        build_tokenizer().save(str(part / path.name))
    return path

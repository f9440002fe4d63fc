"""A tokenizer of a dozen words, and a processor with it, for tests."""

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace

from simvg_core.configuration import SimVGConfig
from simvg_core.processing import SimVGProcessor
from simvg_core.words import FastPieces

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "missing", "bolt", "red", "cap", "##s", "left", "of", "the"]


def fast_pieces():
    """A WordPiece tokenizer of a dozen words."""
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return FastPieces(tokenizer)


def processor(**settings):
    """A processor with the small tokenizer."""
    return SimVGProcessor(SimVGConfig.tiny(tokenizer="fast", **settings), fast_pieces())

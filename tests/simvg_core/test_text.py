"""Words to ids: as the published pipeline does it."""

import json
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, TextError
from simvg_core.text import TextPacker, read_pieces
from simvg_core.words import FastPieces, WordPacker, clean_text, pack
from tests.simvg_core.dozen_words import fast_pieces, processor

TEXT = json.loads((Path(__file__).parents[1] / "data/reference/text_preprocess.json").read_text())


@pytest.mark.parametrize(("raw", "cleaned"), TEXT["clean"])
def test_cleaning(raw, cleaned):
    """Texts are cleaned as in training of the published weights."""
    assert clean_text(raw) == cleaned


@pytest.mark.parametrize("row", TEXT["packing"], ids=lambda row: f"{len(row['piece_ids'])} pieces")
def test_packing(row):
    """Pieces are cut, framed and padded as published."""

    class Given:
        def __call__(self, text):
            return row["piece_ids"]

    if row["piece_ids"]:
        packer = TextPacker(SimVGConfig.tiny(max_text_tokens=row["max_token"]), Given())
        batch = packer(["word"])
        assert batch.input_ids[0].tolist() == row["token_ids"]
        assert (1 - batch.attention_mask[0]).tolist() == row["padding_mask"]
    assert pack(row["piece_ids"], row["max_token"]) == [i for i in row["token_ids"] if i != 1]


@pytest.mark.parametrize("text", ["", "   ", "?!", "..."], ids=repr)
def test_text_without_words_is_refused(text):
    """The message shows the text and an example."""
    with pytest.raises(TextError, match="has no words after cleaning; name a thing"):
        processor().texts([text])


def test_text_that_is_no_string_is_refused():
    """The message names the type."""
    with pytest.raises(TextError, match="a text is a int"):
        processor().texts([7])


def test_long_text_is_cut_at_a_word_and_reported():
    """With text_overflow="truncate" the lost words are given."""
    batch = processor(max_text_tokens=5).texts(["red cap left of the bolt", "red"])
    assert batch.truncated == ["of the bolt", ""]
    assert batch.input_ids.tolist() == [[0, 6, 7, 9, 2], [0, 6, 2, 1, 1]]


def test_long_text_is_refused_where_the_model_says_so():
    """With text_overflow="error" the message says what would be cut."""
    with pytest.raises(TextError, match="has 6 tokens, the model reads 3; shorten it, 'of the bolt' would be cut"):
        processor(max_text_tokens=5, text_overflow="error").texts(["red cap left of the bolt"])


def test_unknown_words_are_named():
    """Words without a piece are listed in order."""
    assert processor().unknown_words("missing Zorgle on the red cap") == ["zorgle", "on"]


def test_of_words_as_near_the_one_that_training_says_most_is_offered():
    """ "lable" is as near to "table" as to "label"."""
    known = FastPieces(fast_pieces().tokenizer, {"table": 5, "label": 900, "cap": 2000})
    assert known.near("lable") == "label"
    assert known.near("tables") == "table"


def test_words_written_as_one_or_apart_are_offered_as_they_are_known():
    """Two known words in one, with or without a line between; halves of one that is known."""
    known = FastPieces(fast_pieces().tokenizer, {"missing": 40, "red": 30, "cap": 25, "side": 30, "out": 30})
    assert [known.near(word) for word in ("redcap", "red_cap", "red_zorgle", "outside")] == [
        "red cap",
        "red cap",
        None,
        None,
    ]
    assert "'mis' (did you mean 'missing'?)" in (WordPacker(known, 24, "error").complaint("mis sing cap") or "")


def test_words_that_training_never_said_are_unknown(tmp_path):
    """Although they have pieces; types with a number in them are none. The list stays with the tokenizer."""
    known = FastPieces(fast_pieces().tokenizer, {"missing": 40, "red": 30, "cap": 25})
    known.save(tmp_path)
    for one in (known, read_pieces(tmp_path, "fast")):
        assert [one.knows(word) for word in ("red", "bolt", "zorgle")] == [True, False, False]
        assert (one.near("mising"), one.near("bolt")) == ("missing", None)
    (tmp_path / "words.json").write_text('["red"]')
    with pytest.raises(CheckpointError, match=r"words\.json must hold words and how often"):
        read_pieces(tmp_path, "fast")
    (tmp_path / "words.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"words\.json cannot be read"):
        read_pieces(tmp_path, "fast")


def test_padding_to_the_longest():
    """A batch can be padded to its longest text only."""
    assert processor().texts(["red cap", "bolts"], pad_to_longest=True).attention_mask.tolist() == [[1] * 4, [1] * 4]


def test_special_tokens_must_sit_where_packing_puts_them():
    """A tokenizer with other special ids is refused."""
    with pytest.raises(CheckpointError, match="special tokens the ids"):
        FastPieces(Tokenizer(WordPiece({"<unk>": 0}, unk_token="<unk>")))


@pytest.fixture(scope="module")
def spm_folder(tmp_path_factory):
    """A folder with a small SentencePiece model under the name transformers expects."""
    folder = tmp_path_factory.mktemp("spm")
    lines = ["missing bolt on the left plate", "red cap near the blue connector", "a scratch below the label"] * 20
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder


def test_published_tokenizer_shifts_sentencepiece_ids_by_one(spm_folder, tmp_path):
    """XLM-R ids are SentencePiece ids + 1, also after saving and loading."""
    pieces = read_pieces(spm_folder, "xlm_roberta")
    model = sentencepiece.SentencePieceProcessor(model_file=str(spm_folder / "sentencepiece.bpe.model"))
    text = "missing bolt near the label"
    expected = [i + 1 for i in model.encode(text)]
    assert 3 not in expected
    assert pieces(text) == expected
    pieces.save(tmp_path)
    assert read_pieces(tmp_path, "xlm_roberta")(text) == expected


@pytest.mark.parametrize(
    ("kind", "message"), [("fast", "has no tokenizer.json"), ("xlm_roberta", "has no sentencepiece.bpe.model")]
)
def test_missing_tokenizer_is_named(kind, message, tmp_path):
    """The message says which file belongs there."""
    with pytest.raises(CheckpointError, match=message):
        read_pieces(tmp_path, kind)


def test_broken_tokenizer_file_is_named(tmp_path):
    """A tokenizer.json that is no tokenizer gives a clear error."""
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a readable tokenizer"):
        read_pieces(tmp_path, "fast")

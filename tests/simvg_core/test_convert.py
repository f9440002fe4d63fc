"""Published weights become model folders through `simvg convert`, and what does not fit is refused by name."""

import json
import math
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

import simvg
from simvg_core.checkpoints import PUBLISHED, config_from_tensors, load_official, read_tensors
from simvg_core.configuration import SimVGConfig
from simvg_core.convert import convert_beit3, convert_official, token_branch_is_untrained
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.grounder import Grounder
from simvg_core.model import SimVGForGrounding
from simvg_core.official_names import UNUSED_OFFICIAL_KEYS, official_sources
from simvg_core.processing import SimVGProcessor

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
REC, REC_SETTINGS = REFERENCE / "simvg_tiny_rec.safetensors", REFERENCE / "simvg_tiny_rec_config.json"
GREC, GREC_SETTINGS = REFERENCE / "simvg_tiny_grec.safetensors", REFERENCE / "simvg_tiny_grec_config.json"
BEIT3, BEIT3_SETTINGS = REFERENCE / "beit3_pretrain_tiny.safetensors", REFERENCE / "beit3_pretrain_tiny_config.json"


def train_pieces(folder, name, size, **settings):
    """A small SentencePiece model."""
    rows = random.Random(0)
    letters = "missing bolt on the left plate red cap near blue connector"
    words = ["missing", "bolt", *("".join(rows.choices(letters, k=7)) for _ in range(size // 4))]
    corpus = folder / f"{name}.txt"
    corpus.write_text("\n".join(" ".join(rows.choices(words, k=6)) for _ in range(200)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / name),
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return folder / f"{name}.model"


@pytest.fixture(scope="module")
def spm(tmp_path_factory):
    """A SentencePiece model that fits the tiny models."""
    torch.set_num_threads(1)
    return train_pieces(tmp_path_factory.mktemp("spm"), "small", 120)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `simvg convert …` and gives exit code and output, joined into one line."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["simvg", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            simvg.main()
        captured = capsys.readouterr()
        text = captured.out + captured.err
        for frame in "│╭╮╰╯─":
            text = text.replace(frame, " ")
        return ended.value.code, " ".join(text.split())

    return run


@pytest.mark.parametrize(
    ("checkpoint", "settings", "answers"), [(REC, REC_SETTINGS, 1), (GREC, GREC_SETTINGS, 10)], ids=["REC", "GREC"]
)
def test_an_official_checkpoint_becomes_a_folder_that_all_three_open(
    checkpoint, settings, answers, spm, command, tmp_path
):
    """Model, processor and grounder read the folder; the model computes the recorded numbers."""
    out = tmp_path / "models" / "converted"
    code, text = command("official", checkpoint, "--config", settings, "--tokenizer", spm, "--out", out)
    assert code == 0, text
    assert 'pooled text "official"' in text
    arrays = np.load(checkpoint.with_name(checkpoint.stem + "_io.npz"))
    model = SimVGForGrounding.from_pretrained(out).eval()
    mask = 1 - torch.from_numpy(arrays["padding_mask"])
    inside = torch.zeros(3, 96, 96)
    for row, (h, w, _) in zip(inside, arrays["img_shape"], strict=True):
        row[:h, :w] = 1
    with torch.no_grad():
        found = model(torch.from_numpy(arrays["image"]), torch.from_numpy(arrays["token_ids"]), mask, inside)
    np.testing.assert_allclose(found.token_boxes, arrays["out.token_boxes"][0], atol=2e-5, rtol=0)
    np.testing.assert_allclose(found.decoder_logits, arrays["out.decoder_logits"], atol=2e-5, rtol=0)
    reader = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    expected = [0, *(i + 1 for i in reader.encode("missing bolt")), 2]
    ids = SimVGProcessor.from_pretrained(out).texts(["Missing bolt!"]).input_ids[0].tolist()
    assert ids == expected + [1] * (20 - len(expected))
    assert json.loads((out / "preprocessor_config.json").read_text())["size"] == {"height": 96, "width": 96}
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    (answer,) = Grounder.from_pretrained(out).ground([frame], ["missing bolt"], thresholds=0.0)[0]
    assert len(answer.scores) in range(1, answers + 1)


def test_a_folder_without_a_name_is_refused(command, tmp_path, monkeypatch):
    """Beside it may come a file of the keys that do not fit, named after it."""
    monkeypatch.chdir(tmp_path)
    code, text = command("beit3", REC, "--size", "base", "--out", ".")
    assert code == 2 and ". has no name of its own; name the folder to write" in text


def test_a_training_checkpoint_gives_its_running_average_or_its_plain_weights(command, tmp_path):
    """The average is taken where there is one, the plain weights on request, and asking for what is not there fails."""
    plain = load_file(REC)
    average = {f"module.{key}": value + 1 for key, value in plain.items()}
    torch.save({"state_dict": plain, "ema_state_dict": average, "d_acc": np.float64(3)}, tmp_path / "both.pth")
    torch.save({"state_dict": plain, "optimizer": {"state": {0: {"step": 1}}}}, tmp_path / "plain.zip")
    key = "head.input_text_proj.weight"
    for name, choice, shift in (("both.pth", [], 1.0), ("both.pth", ["plain"], 0.0), ("plain.zip", ["plain"], 0.0)):
        out = tmp_path / f"{name}-{shift}"
        flags = ["--weights", *choice] if choice else []
        assert command("official", tmp_path / name, "--config", REC_SETTINGS, "--out", out, *flags)[0] == 0
        weights = load_file(out / "model.safetensors")["query_generator.project.weight"]
        assert torch.equal(weights, plain[key] + shift)
        shutil.rmtree(out)
    code, text = command(
        "official", tmp_path / "plain.zip", "--config", REC_SETTINGS, "--out", tmp_path / "no", "--weights", "ema"
    )
    assert code == 2
    assert "holds no running average" in text


@pytest.mark.parametrize(("image", "patch"), [(96, 32), (64, 16)])
def test_beit3_becomes_a_start_for_training(image, patch, command, tmp_path):
    """Positions and patch kernels are resized as recorded, and the folder opens."""
    out = tmp_path / "start"
    code, text = command(
        "beit3", BEIT3, "--config", BEIT3_SETTINGS, "--image-size", image, "--patch-size", patch, "--out", out
    )
    assert code == 0, text
    assert "train the heads before use" in text
    assert ("resized" in text) == ((image, patch) != (64, 16))
    arrays = np.load(REFERENCE / "beit3_pretrain_tiny_io.npz")
    model = SimVGForGrounding.from_pretrained(out)
    expected = arrays[f"img{image}_patch{patch}.pos_embed_A"]
    np.testing.assert_allclose(model.encoder.image_positions.weight.detach(), expected, atol=1e-6, rtol=0)
    assert model.config.text_pooling == "masked"
    with pytest.raises(CheckpointError, match=r"has no sentencepiece\.bpe\.model; copy beit3\.spm there"):
        SimVGProcessor.from_pretrained(out)


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self):
        return (os.system, ("true",))


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Files that are no checkpoints."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "text.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    torch.save({"state_dict": load_file(REC)}, folder / "whole.pth")
    (folder / "cut.pth").write_bytes((folder / "whole.pth").read_bytes()[:50_000])
    torch.save({"state_dict": {"a": torch.zeros(1)}, "code": Evil()}, folder / "code.pth")
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pth", "is not a file; give the path"),
        ("text.pth", "not a torch file (it starts with b'version https"),
        ("cut.pth", "is truncated or not a torch file (its end is missing); download it again"),
        ("code.pth", "holds more than tensors and plain containers, and is not opened"),
    ],
)
@pytest.mark.parametrize("kind", ["official", "beit3"])
def test_broken_files_end_with_one_line(kind, name, message, broken, command, tmp_path):
    """Exit code 2, what is wrong, what to do, and nothing written."""
    settings = REC_SETTINGS if kind == "official" else BEIT3_SETTINGS
    code, text = command(kind, broken / name, "--config", settings, "--out", tmp_path / "out")
    assert code == 2
    assert message in text
    assert list(tmp_path.iterdir()) == []


def _refused(spm, folder):
    """Case → command line, and what the message says."""
    (folder / "notes.txt").write_text("no SentencePiece model")
    other = train_pieces(folder, "other", 40, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    large = train_pieces(folder, "large", 300, user_defined_symbols=[f"<{i}>" for i in range(200)])
    full = folder / "full"
    full.mkdir()
    (full / "mine.txt").write_text("kept")
    (folder / "type.json").write_text(REC_SETTINGS.read_text().replace('"embed_dim": 64', '"embed_dim": "64"'))
    (folder / "list.json").write_text('{"encoder": [24, 4, 48, 2]}')
    flat = {"text_embed.weight": torch.zeros(768), "encoder.embed_positions.B.weight": torch.zeros(12)}
    for name, prefix in (("flat-official", "vis_enc.beit3."), ("flat-beit3", "beit3.")):
        save_file({prefix + key: value for key, value in flat.items()}, folder / f"{name}.safetensors")
    nan = load_file(REC) | {"head.input_proj.bias": torch.full((32,), torch.nan)}
    save_file(nan, folder / "nan.safetensors")
    rec = ["official", REC, "--config", REC_SETTINGS]
    out = ["--out", folder / "out"]
    return {
        "other sizes": (["official", GREC, "--config", REC_SETTINGS, *out], "(200, 48) instead of (200, 64)"),
        "no known width": (
            ["official", REC, "--tokenizer", spm, *out],
            "(200, 64): the encoder's width is neither base",
        ),
        "no tokenizer": (["official", REC, *out], "give beit3.spm"),
        "BEiT-3 as official": (["official", BEIT3, "--tokenizer", spm, *out], "a BEiT-3 pretraining checkpoint"),
        "official as BEiT-3": (["beit3", REC, "--size", "base", *out], "use `simvg convert official`"),
        "wrong size": (["beit3", BEIT3, "--size", "large", *out], "24 wide, not 1024 as large; give its sizes"),
        "no size": (["beit3", BEIT3, *out], "give one of --size base, --size large and --config FILE"),
        "text as tokenizer": ([*rec, "--tokenizer", folder / "notes.txt", *out], "is not a SentencePiece model"),
        "no tokenizer file": (
            [*rec, "--tokenizer", folder / "none.spm", *out],
            "is not a file; give the SentencePiece",
        ),
        "other specials": ([*rec, "--tokenizer", other, *out], "it is the tokenizer of another model. Give beit3.spm"),
        "too many pieces": ([*rec, "--tokenizer", large, *out], "the model has words for 199"),
        "folder in use": ([*rec, "--out", full], "exists and is not an empty folder"),
        "bad settings": (["official", REC, "--config", folder / "notes.txt", *out], "not a readable JSON file"),
        "wrong type": (["official", REC, "--config", folder / "type.json", *out], "hidden_size='64' is not a whole"),
        "list of sizes": (["beit3", BEIT3, "--config", folder / "list.json", *out], "encoder is [24, 4, 48, 2]; give"),
        "flat words": (
            ["official", folder / "flat-official.safetensors", "--tokenizer", spm, *out],
            "text_embed.weight is (768,): the encoder's width",
        ),
        "flat words of BEiT-3": (
            ["beit3", folder / "flat-beit3.safetensors", "--size", "base", *out],
            "text_embed.weight is (768,), not (rows, width)",
        ),
        "NaN": (
            ["official", folder / "nan.safetensors", "--config", REC_SETTINGS, *out],
            "Unusable: head.input_proj.bias: NaN or infinite",
        ),
        "patch": (["beit3", BEIT3, "--config", BEIT3_SETTINGS, "--image-size", 97, *out], "image_size=97"),
    }


CASES = [
    "other sizes",
    "no known width",
    "no tokenizer",
    "BEiT-3 as official",
    "official as BEiT-3",
    "wrong size",
    "no size",
    "text as tokenizer",
    "no tokenizer file",
    "other specials",
    "too many pieces",
    "folder in use",
    "bad settings",
    "wrong type",
    "list of sizes",
    "flat words",
    "flat words of BEiT-3",
    "NaN",
    "patch",
]


@pytest.fixture(scope="module")
def refused(spm, tmp_path_factory):
    """The cases of `_refused`, made once, and the folder they would write to."""
    folder = tmp_path_factory.mktemp("refused")
    return _refused(spm, folder), folder / "out"


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused(case, refused, command):
    """Exit code 2, the value and the remedy, and nothing written."""
    (arguments, message), out = refused[0][case], refused[1]
    assert set(refused[0]) == set(CASES)
    code, text = command(*arguments)
    assert code == 2
    assert message in text
    assert not out.exists()


def test_a_file_names_the_keys_that_a_message_has_no_room_for(command, tmp_path):
    """Of a checkpoint without its decoder a hundred keys are missing: the message names twenty, the file every one."""
    tensors = load_file(REC)
    kept = {key: value for key, value in tensors.items() if not key.startswith("head.transformer.")}
    save_file(kept | {"head.new": torch.zeros(1)}, tmp_path / "part.safetensors")
    out = tmp_path / "models" / "out"
    code, text = command("official", tmp_path / "part.safetensors", "--config", REC_SETTINGS, "--out", out)
    assert code == 2
    assert "and" in text and "more" in text and "Unexpected: head.new" in text
    assert "out-keys.json names all keys." in text
    listed = json.loads((tmp_path / "models" / "out-keys.json").read_text())
    assert listed == {"missing": sorted(tensors.keys() - kept.keys()), "unexpected": ["head.new"]}
    assert not out.exists()


def test_a_small_tokenizer_is_pointed_out(spm, command, tmp_path):
    """A tokenizer that leaves many words unread is converted with a note."""
    _, text = command("official", REC, "--config", REC_SETTINGS, "--tokenizer", spm, "--out", tmp_path / "out")
    assert "rows are never read" in text


def test_a_first_stage_checkpoint_answers_with_its_decoder(spm, tmp_path):
    """Where the token branch was never trained, the decoder branch answers; a flag overrules it."""
    tensors = read_tensors(REC)
    assert not token_branch_is_untrained(tensors)
    fresh = {
        key: torch.rand_like(value) * 2 * value.shape[-1] ** -0.5 - value.shape[-1] ** -0.5
        if key.startswith(("head.mlp", "head.class_embed_token", "head.bbox_embed_token"))
        else value
        for key, value in tensors.items()
    }
    assert token_branch_is_untrained(fresh)
    settings = json.loads(REC_SETTINGS.read_text())
    settings["model"]["head"]["branch_loss_weight"] = {"decoder": 1.0}
    (tmp_path / "stage1.json").write_text(json.dumps(settings))
    done = convert_official(REC, tmp_path / "out", tokenizer=spm, settings=tmp_path / "stage1.json")
    assert done.config.answer_branch == "decoder"
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    grounder = Grounder.from_pretrained(tmp_path / "out")
    (answer,) = grounder.ground([frame], ["missing bolt"])[0]
    inputs, words = grounder.processor.frames([frame]), grounder.processor.texts(["missing bolt"])
    with torch.no_grad():
        out = grounder.model(inputs.pixel_values, words.input_ids, words.attention_mask)
    (expected,) = grounder.processor.post_process_grounding(out, inputs.sizes, branch="decoder")
    assert answer.boxes_xyxy_px == tuple(map(tuple, expected.boxes_xyxy_px.tolist()))
    again = convert_official(REC, tmp_path / "token", settings=tmp_path / "stage1.json", branch="token")
    assert again.config.answer_branch == "token"


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    """A file where a folder should be gives a clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        convert_beit3(BEIT3, tmp_path / "file" / "out", settings=BEIT3_SETTINGS, image_size=64, patch_size=16)


@pytest.mark.parametrize("name", ["refcoco_base", "refcoco_large"])
@pytest.mark.parametrize("queries", [1, 10], ids=["REC", "GREC"])
def test_full_size_checkpoints_load_strictly(name, queries):
    """Sizes come from the shapes, and every official key of base and large is taken over."""
    keys = json.loads((REFERENCE / "official_keys_full_size.json").read_text())[name]
    keys["head.query_embed.weight"] = [queries, 256]
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in keys.items()}
        config = config_from_tensors(tensors)
        model = SimVGForGrounding(config)
    report = load_official(model, tensors)
    assert len(report.loaded) == len(keys) - 3
    assert (config.num_queries, config.image_size, config.patch_size) == (queries, 640, 32)
    assert config.loss_weights == PUBLISHED[config.hidden_size]().loss_weights
    assert config.loss_weights["distill"] == (0.4 if name == "refcoco_large" else 1.0)
    with pytest.raises(CheckpointError, match=r"Missing: head\.mlp\.layers\.0\.bias"):
        load_official(model, {key: value for key, value in tensors.items() if key != "head.mlp.layers.0.bias"})


def test_the_base_model_really_loads_without_a_second_copy(tmp_path):
    """A file of base size fills a model whose weights are the file's; it answers at 640×640."""
    keys = json.loads((REFERENCE / "official_keys_full_size.json").read_text())["refcoco_base"]
    torch.save({"state_dict": {key: torch.full(shape, 1e-3) for key, shape in keys.items()}}, tmp_path / "base.pth")
    tensors = read_tensors(tmp_path / "base.pth")
    with torch.device("meta"):
        model = SimVGForGrounding(config_from_tensors(tensors))
    load_official(model, tensors)
    (tmp_path / "base.pth").unlink()
    name = "encoder.layers.3.feed_forward.text.expand.weight"
    (source,) = official_sources(SimVGConfig.base())[name]
    assert model.get_parameter(name).data_ptr() == tensors[source].data_ptr()
    with torch.no_grad():
        out = model.eval()(torch.zeros(1, 3, 640, 640), torch.tensor([[0, 5, 2]]))
    assert out.token_boxes.shape == (1, 1, 4)
    assert out.token_boxes.isfinite().all()


def test_the_large_model_really_loads_strictly(tmp_path):
    """A checkpoint of large with every official key fills a model in memory: each weight, and 682.7 million in all.

    Written by `simvg convert` it would be 2.7 GB; what follows the strict load there is the same for every size.
    """
    keys = json.loads((REFERENCE / "official_keys_full_size.json").read_text())["refcoco_large"]
    fills = {key: (1 + place) / 1024 for place, key in enumerate(keys)}
    # one number per weight, spread out: the file is small, and the weights fill only once they are the model's
    spread = {key: torch.tensor(fills[key]).expand(shape) for key, shape in keys.items()}
    torch.save({"state_dict": spread}, tmp_path / "large.pth")
    tensors = read_tensors(tmp_path / "large.pth")
    with torch.device("meta"):
        model = SimVGForGrounding(config_from_tensors(tensors))
    report = load_official(model, tensors)
    assert not report.wrong()
    weights = model.state_dict()
    for name, sources in official_sources(model.config).items():
        ends = weights[name].flatten()[[0, -1]].tolist()
        assert ends == [fills[sources[0]], fills[sources[-1]]], name
    unused = sum(math.prod(keys[key]) for key in UNUSED_OFFICIAL_KEYS)
    total = sum(weight.numel() for weight in model.parameters())
    assert total == sum(map(math.prod, keys.values())) - unused == 682_707_980

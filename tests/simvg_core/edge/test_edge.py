"""The exported model without torch answers as the model in torch does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
import typer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from typer.testing import CliRunner

from simvg_core import asking
from simvg_core.configuration import SimVGConfig
from simvg_core.edge.card import add_graph
from simvg_core.edge.graphs import GATE, RUNTIMES, Precision, graph_file, load_graph
from simvg_core.edge.grounder import EdgeGrounder
from simvg_core.errors import CheckpointError, ConfigurationError, ImageError, InputError, QueryIndexError, TextError
from simvg_core.export_cli import export as export_command
from simvg_core.grounder import Grounder
from simvg_core.images import read_frame
from simvg_core.model import SimVGForGrounding
from simvg_core.onnx_export import export
from simvg_core.onnx_int8 import to_int8
from simvg_core.processing import SimVGProcessor
from simvg_core.standing import StandingQueries
from simvg_core.words import FastPieces

pytestmark = pytest.mark.timeout(900)  # an export takes a minute, on a busy machine minutes; two may come before a test

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "missing", "bolt", "red", "cap", "blue", "left", "of", "the"]
SHIPPED = Path(__file__).parents[3] / "models" / "line-small"
TEXTS = ["missing bolt", "red cap left of the blue cap", "cap"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small line model with random weights, saved and exported."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    config = SimVGConfig.tiny(
        attention="standing",
        num_hidden_layers=2,
        num_queries=3,
        num_decoder_layers=0,
        own_object_expert=True,
        box_head="pointer",
        auxiliary_heads=True,
        heat_guidance=True,
        num_kinds=3,
        num_colors=2,
        patch_embedding="convolutional",
        patch_size=16,
        stem_widths=(8, 8, 8, 8),
        glimpse_side=3,
        glimpse_channels=4,
        resize="area",
        tokenizer="fast",
        vocab_size=16,
        nms_iou=0.5,
        gate_heads=2,
        gate_width=4,
        text_bias=True,
        loss_weights={"token": 1.0, "first": 1.0},
    )
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    model = SimVGForGrounding(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    path = tmp_path_factory.mktemp("exported")
    model.save_pretrained(path)
    SimVGProcessor(config, FastPieces(tokenizer)).save_pretrained(path)
    _export(path)
    return path


def _export(path: Path) -> None:
    command = typer.Typer()
    command.command()(export_command)
    done = CliRunner().invoke(command, [str(path)], catch_exceptions=False)
    assert done.exit_code == 0 and "graphs written to" in done.stdout


def frames(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 255, (60 + 40 * i, 200 - 30 * i, 3), dtype=np.uint8) for i in range(count)]


def assert_same(first: list, second: list) -> None:
    for row, other in zip(first, second, strict=True):
        for one, two in zip(row, other, strict=True):
            assert one.state == two.state
            assert one.score == pytest.approx(two.score, abs=1e-4)
            np.testing.assert_allclose(one.boxes_xyxy_px, two.boxes_xyxy_px, atol=0.05)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answers_are_those_of_torch(folder: Path, runtime: str, threads: int) -> None:
    """Any number of frames of any size and of texts of any length, the frame pass in either runtime; on several threads
    some frames go side by side and some together."""
    own = Grounder.from_pretrained(folder, check_quality=False)
    edge = EdgeGrounder(folder, runtime=runtime, threads=threads, max_batch=2 * threads, check_quality=False)
    assert edge.side_by_side == (threads > 1)
    assert edge.model_fingerprint == own.model_fingerprint
    for count, texts in [(1, TEXTS[:1]), (3, TEXTS), (2, TEXTS[1:]), (7, TEXTS)]:
        assert_same(edge.ground(frames(count), texts, 0.02), own.ground(frames(count), texts, 0.02))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_frame_pass_in_bfloat16_gives_nearly_the_same_answers(folder: Path, threads: int) -> None:
    """Other numbers, but near; a processor without instructions for them is told, not slowed down."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ConfigurationError, match="no instructions for bfloat16"):
            EdgeGrounder(folder, runtime="openvino", precision="bfloat16", threads=threads)
        return
    exact = EdgeGrounder(folder, threads=threads, check_quality=False).ground(frames(3), TEXTS, 0.02)
    edge = EdgeGrounder(folder, runtime="openvino", precision="bfloat16", threads=threads, check_quality=False)
    scores, others = (
        np.array([[one.score for one in row] for row in found])
        for found in (edge.ground(frames(3), TEXTS, 0.02), exact)
    )
    assert 0 < np.abs(scores - others).max() < 0.02


@pytest.fixture(scope="module")
def gated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The same model with its gate on, exported over the graphs that it had; and which pairs of `frames` and TEXTS pass
    it, (3, 3): some do and some do not."""
    path = _copy(folder, tmp_path_factory.mktemp("gated"))
    own = Grounder.from_pretrained(folder, check_quality=False)
    compiled = own.compile(TEXTS)._state[1]
    assert isinstance(compiled, StandingQueries)
    with torch.inference_mode():
        image = asking.see(own.model, own.processor.frames(frames(3)).pixel_values).image
        warmth = own.model.gate(compiled.texts.kept.asked, own.model.gate.see(image)).numpy()
    ordered = np.sort(warmth.ravel())
    widest = int(np.diff(ordered).argmax())
    middle = float(ordered[widest : widest + 2].mean())
    config = json.loads((path / "config.json").read_text())
    config |= {"gate_floors": [0.01], "gate_thresholds": [middle], "gate_score": 0.005, "gate_queries": 2}
    (path / "config.json").write_text(json.dumps(config))
    export(SimVGForGrounding.from_pretrained(path), path)
    return path, warmth >= middle


def test_a_gate_gives_the_same_answers_as_in_torch(gated: tuple[Path, np.ndarray]) -> None:
    """Queries that are cold in a frame get the gate's score in both, the warm ones their answers, which score no more
    than the gate allows; so they do where all are asked."""
    path, warm = gated
    own, edge = Grounder.from_pretrained(path, check_quality=False), EdgeGrounder(path, check_quality=False)
    answers = edge.ground(frames(3), TEXTS, 0.02)
    assert_same(answers, own.ground(frames(3), TEXTS, 0.02))
    closed = [one for row in answers for one in row if one.score == pytest.approx(0.005)]
    assert 0 < len(closed) < 9 and all(one.state == "absent" and not one.asked for one in closed)
    whole = EdgeGrounder(path, check_quality=False, gate=False)
    full = whole.ground(frames(3), TEXTS, 0.02)
    assert all(one.asked for row in full for one in row)
    assert_same(full, Grounder.from_pretrained(path, check_quality=False, gate=False).ground(frames(3), TEXTS, 0.02))
    scores = np.array([[one.score for one in row] for row in full])
    assert (scores[~warm] < 0.01).all() and (scores[warm] > 0.01).all()


def test_integers_of_other_weights_do_not_outlive_an_export(
    folder: Path, gated: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """They lay beside the graphs before, and are made anew of those that are there now."""
    assert (folder / "onnx" / graph_file("frame", "int8")).is_file()
    rounded = _copy(gated[0], tmp_path)
    with pytest.raises(CheckpointError, match=r"frame\.int8\.onnx does not exist; .*simvg export"):
        EdgeGrounder(rounded, precision="int8")
    to_int8(rounded / "onnx")
    assert EdgeGrounder(rounded, precision="int8").model_fingerprint == (
        f"{EdgeGrounder(rounded).model_fingerprint}-int8"
    )


def test_frames_are_asked_their_own_texts(folder: Path) -> None:
    """Side by side and in one pass, as in torch; a bare text and a bare frame are refused as there."""
    own = Grounder.from_pretrained(folder, check_quality=False)
    for threads in (1, 2):
        edge = EdgeGrounder(folder, threads=threads, check_quality=False)
        for count in (3, 5):
            texts = [TEXTS[1:] if number % 2 else TEXTS[:1] for number in range(count)]
            asked = {tuple(one): (edge.question(one, 0.02), own.question(one, 0.02)) for one in texts}
            mine, theirs = zip(*(asked[tuple(one)] for one in texts), strict=True)
            assert_same(edge.ground_each(frames(count), mine), own.ground_each(frames(count), theirs))
    with pytest.raises(TextError, match="pass a list of texts"):
        edge.ground(frames(1), "cap")
    with pytest.raises(ImageError, match="pass a list of frames"):
        edge.ground(frames(1)[0], ["cap"])


def test_integers_answer_nearly_as_floats(folder: Path) -> None:
    """Rounded graphs are smaller, say so in the fingerprint, and give scores near those of the others."""
    smaller, larger = (folder / "onnx" / graph_file("frame", precision) for precision in ("int8", "float32"))
    assert smaller.stat().st_size < larger.stat().st_size
    own, edge = (EdgeGrounder(folder, threads=2, precision=precision) for precision in ("float32", "int8"))
    assert edge.model_fingerprint == f"{own.model_fingerprint}-int8"
    exact, near = (
        np.array([[one.score for one in row] for row in grounder.ground(frames(3), TEXTS)]) for grounder in (own, edge)
    )
    assert 0 < np.abs(exact - near).max() < 0.1


def test_the_shipped_graph_in_integers_is_that_of_the_shipped_one_in_floats(tmp_path: Path) -> None:
    """Or a worker in int8 would run other weights."""
    wanted, shipped = tmp_path / "frame.int8.onnx", Path(__file__).parents[3] / "models/line-small/onnx"
    for name in ("frame.onnx", "export.json"):
        shutil.copy(shipped / name, tmp_path)
    to_int8(tmp_path)
    assert (shipped / wanted.name).read_bytes() == wanted.read_bytes(), "write it anew with `simvg export`"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_in_integers_an_answer_depends_on_its_frame_and_text_alone(threads: int) -> None:
    """What flows through a product in integers is scaled together: other frames and texts must not be among it."""
    shipped = Path(__file__).parents[3] / "models/line-small"
    edge = EdgeGrounder(shipped, precision="int8", threads=threads, check_quality=False)
    pictures = [read_frame(file) for file in sorted((shipped.parents[1] / "benchmarks/line/val/images").iterdir())[:5]]
    texts = ["red cap", "missing bolt", "largest gear"]
    for frame, row in zip(pictures, edge.ground(pictures, texts, 0.1), strict=True):
        for text, answer in zip(texts, row, strict=True):
            alone = edge.ground([frame], [text], 0.1)[0][0]
            assert alone.state == answer.state
            np.testing.assert_allclose(answer.scores, alone.scores, atol=1e-5)


def test_texts_come_and_go_without_compiling_the_rest(folder: Path) -> None:
    """Adding compiles what is new only; a longer text does not change what the shorter ones say."""
    edge = EdgeGrounder(folder, threads=1, check_quality=False)
    passes = []
    inner = edge._text
    edge._text = lambda inputs: passes.append(len(inputs["input_ids"])) or inner(inputs)  # type: ignore[assignment, func-returns-value]
    queries = edge.compile(["cap"])
    before = edge.ground(frames(1), queries, 0.02)[0][0]
    queries.add("red cap left of the blue cap")
    assert passes == [1, 1]
    assert_same([[before]], [edge.ground(frames(1), queries, 0.02)[0][:1]])
    twin = queries.copy()
    queries.remove("cap")
    assert (queries.texts, len(twin)) == (("red cap left of the blue cap",), 2)
    queries.remove(0)
    assert (len(queries), queries.num_bytes, edge.ground(frames(1), queries)) == (0, 0, [[]])
    with pytest.raises(QueryIndexError, match="no compiled query 'cap'"):
        queries.remove("cap")


def test_nothing_asked_is_answered(folder: Path) -> None:
    """No texts, no frames, and a frame that cannot be judged."""
    edge = EdgeGrounder(folder, threads=1)
    assert edge.ground(frames(2), []) == [[], []]
    assert edge.ground([], ["cap"]) == []
    (black,) = edge.ground([np.zeros((40, 40, 3), np.uint8)], ["cap"])
    assert black[0].state == "unknown" and "black" in (black[0].reason or "")


def test_texts_the_model_cannot_read_are_refused(folder: Path) -> None:
    """The same named errors as with torch."""
    edge = EdgeGrounder(folder, threads=1)
    with pytest.raises(TextError, match="no words"):
        edge.compile(["?!"])
    assert edge.unknown_words("red flux cap") == ["flux"]
    known, strange = edge.ground(frames(1), ["cap", "red flux cap"])[0]
    assert known.state != "unknown" and strange.state == "unknown" and "'flux'" in (strange.reason or "")
    with pytest.raises(InputError, match="2 thresholds for 1 texts"):
        edge.ground(frames(1), ["cap"], [0.1, 0.2])


def _copy(folder: Path, to: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    return to


def test_graphs_of_other_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    """Graphs beside newer weights would answer for another model: the remedy is named."""
    changed = _copy(folder, tmp_path)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"score_bias": 1.0}))
    with pytest.raises(CheckpointError, match="simvg export"):
        EdgeGrounder(changed)


@pytest.mark.parametrize("name", ["frame.onnx", "text.onnx", "query.onnx", "gate.onnx", "frame.int8.onnx"])
def test_a_graph_of_another_export_is_refused(name: str, tmp_path: Path) -> None:
    """It would run: its inputs and outputs are the same. So is one of which the card tells nothing."""
    mixed = _copy(SHIPPED, tmp_path)
    graph, card = mixed / "onnx" / name, mixed / "onnx" / "export.json"
    content = bytearray(graph.read_bytes())
    content[4] ^= 32  # a letter of its maker's name, in the other case
    graph.write_bytes(content)
    precision: Precision = "int8" if "int8" in name else "float32"
    for runtime in RUNTIMES if name == "frame.onnx" else ("onnxruntime",):
        with pytest.raises(CheckpointError, match=rf"{name} has the SHA-256 .* or broken\. Run `simvg export {mixed}`"):
            EdgeGrounder(mixed, precision=precision, runtime=runtime, threads=1)
    add_graph(graph)
    assert EdgeGrounder(mixed, precision=precision, threads=1).ground(frames(1), ["red cap"])
    told = json.loads(card.read_text())
    del told["sha256"][name]
    card.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=rf"{name} has the SHA-256 .* tells nothing of it: .*simvg export"):
        EdgeGrounder(mixed, precision=precision, threads=1)
    del told["sha256"]
    card.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"export\.json cannot be read \(it lacks 'sha256'\); .*simvg export"):
        EdgeGrounder(mixed, precision=precision, threads=1)


def test_weights_that_change_during_an_export_are_not_those_of_its_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command may write the model meanwhile: the graphs say what they were made from, and are refused."""
    copied = _copy(SHIPPED, tmp_path)

    def slow(module: object, path: Path, *rest: object) -> None:
        config = json.loads((copied / "config.json").read_text())
        (copied / "config.json").write_text(json.dumps(config | {"score_bias": 1.0}))
        shutil.copy(SHIPPED / "onnx" / path.name, path)

    monkeypatch.setattr("simvg_core.onnx_export.write_graph", slow)
    export(SimVGForGrounding.from_pretrained(copied), copied)
    with pytest.raises(CheckpointError, match=r"made from a model with the fingerprint .*simvg export"):
        EdgeGrounder(copied, threads=1)


def test_graphs_name_no_folder_of_the_machine_that_wrote_them(folder: Path) -> None:
    """They are given away."""
    graphs = list((folder / "onnx").glob("*.onnx"))
    assert graphs
    for graph in graphs:
        content = graph.read_bytes()
        assert b"site-packages" not in content and b"simvg_core/" not in content


def test_graphs_are_enough(folder: Path, tmp_path: Path) -> None:
    """Without the weights beside them, as an edge box has them, the graphs run."""
    copied = _copy(folder, tmp_path)
    (copied / "model.safetensors").unlink()
    assert len(EdgeGrounder(copied, threads=1).ground(frames(1), ["cap"])[0]) == 1


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    """No graphs, a broken graph, an unknown runtime."""
    copied = _copy(folder, tmp_path / "a")
    (copied / "onnx" / "query.onnx").write_bytes(b"broken")
    add_graph(copied / "onnx" / "query.onnx")
    with pytest.raises(CheckpointError, match=r"query\.onnx cannot be read by onnxruntime"):
        EdgeGrounder(copied)
    (copied / "onnx" / "query.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"query\.onnx does not exist; .*simvg export"):
        EdgeGrounder(copied)
    other = _copy(folder, tmp_path / "b")
    (other / "preprocessor_config.json").write_text('{"size": {"height": 1, "width": 1}}')
    with pytest.raises(ConfigurationError, match=r"preprocessor_config\.json has size="):
        EdgeGrounder(other)
    with pytest.raises(ConfigurationError, match="runtime='tensorrt'"):
        EdgeGrounder(folder, runtime="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="precision='float16'"):
        EdgeGrounder(folder, precision="float16")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="onnxruntime runs graphs in float32 or int8, not in bfloat16"):
        EdgeGrounder(folder, precision="bfloat16")
    with pytest.raises(ConfigurationError, match="openvino runs graphs in float32 or bfloat16, not in int8"):
        EdgeGrounder(folder, runtime="openvino", precision="int8")
    with pytest.raises(CheckpointError, match="is not a model folder"):
        export_command(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        EdgeGrounder(tmp_path / "nowhere")
    (other / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        EdgeGrounder(other)


def test_joint_models_are_not_exported(tmp_path: Path) -> None:
    """Only standing attention has separate passes."""
    with pytest.raises(ConfigurationError, match="standing"):
        export(SimVGForGrounding(SimVGConfig.tiny()), tmp_path)


def test_models_that_no_machine_without_torch_could_ask_are_not_exported(tmp_path: Path) -> None:
    """A worker takes what was exported: it would refuse a model that ran in torch before."""
    model = SimVGForGrounding(SimVGConfig.tiny(attention="standing", tokenizer="xlm_roberta"))
    with pytest.raises(ConfigurationError, match="tokenizer 'xlm_roberta' needs transformers"):
        export(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_export_is_taken_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of which only some are new, copied to an edge box without the weights, would answer for no model."""
    copied = _copy(SHIPPED, tmp_path)

    def interrupted(module: object, path: Path, *rest: object) -> None:
        if path.stem != "frame":
            raise KeyboardInterrupt
        path.write_bytes(path.read_bytes())

    monkeypatch.setattr("simvg_core.onnx_export.write_graph", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(SimVGForGrounding.from_pretrained(copied), copied)
    (copied / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"export\.json cannot be read .*export the model again"):
        EdgeGrounder(copied, threads=1)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One that is read-only, full or in the way: an error of ours."""
    for path in SHIPPED.glob("*.*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "onnx").touch()
    with pytest.raises(CheckpointError, match=r"graphs of .* cannot be written .*check the rights"):
        export_command(tmp_path)


def test_threads_stay_on_the_cores_that_the_process_may_use() -> None:
    """As taskset and containers give them: workers that share a machine must not sit on each other's cores."""
    usable = os.sched_getaffinity(0)
    tasks = Path("/proc/self/task")
    before = set(tasks.iterdir())
    os.sched_setaffinity(0, {min(usable)})
    try:
        graph = load_graph(SHIPPED, GATE, "onnxruntime", None)
        new = set(tasks.iterdir()) - before
        assert all(os.sched_getaffinity(int(thread.name)) == {min(usable)} for thread in new)
    finally:
        os.sched_setaffinity(0, usable)
    assert callable(graph)


def test_torch_is_never_imported(folder: Path) -> None:
    """The edge grounder and the worker's engine run in a process that cannot import torch or transformers."""
    program = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from pathlib import Path
import numpy as np
from consumers.grounding.engine import load_engine
engine = load_engine(Path({str(folder)!r}), device="cpu", precision="float32", batch_size=2, threads=1)
assert not engine.compile(["red cap"])
print(engine.ground([np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)], [{{"red cap": 0.0}}])[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "red cap" in done.stdout

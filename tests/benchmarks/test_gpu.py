"""The GPU benchmark, tried out on the processor with a tiny model."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Bench, enough, load, main, steady
from simvg_core.configuration import SimVGConfig
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.words import FastPieces


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights."""
    torch.manual_seed(0)
    folder, tokenizer = tmp_path_factory.mktemp("tiny"), build_tokenizer()
    config = SimVGConfig.tiny(attention="standing", tokenizer="fast", vocab_size=tokenizer.get_vocab_size())
    SimVGForGrounding(config).save_pretrained(folder)
    SimVGProcessor(config, FastPieces(tokenizer)).save_pretrained(folder)
    return folder


@pytest.fixture
def run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the benchmark with further words; gives the page. What is compiled is traced whole, and then runs as it is:
    the compiler of a processor takes minutes, and is not ours."""
    monkeypatch.setattr(gpu, "jpegs", lambda count, made=gpu.jpegs: made(3))
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda run, mode, **given: traced(run, **given))

    def run(*words: str) -> str:
        page = tmp_path / "gpu.md"
        short = ["--batches", "2", "--threads", "2", "--decoders", "2", "--seconds", "0.3", "--rounds", "1"]
        argv = ["gpu.py", "--device", "cpu", "--model", str(tiny), *short, "--out", str(page), *words]
        monkeypatch.setattr(sys, "argv", argv)
        main()
        return page.read_text(encoding="utf-8")

    return run


def rows(page: str, first: str) -> list[list[str]]:
    """Cells of the page's rows whose first cell begins so."""
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(f"| {first}")]


def test_the_page_tells_rates_stages_and_each_mode(run: Callable[..., str]) -> None:
    """A mode with CUDA graphs runs with one thread, and one thread is measured without it, too."""
    page = run("--compile", "default", "max-autotune")
    assert [row[:2] for row in rows(page, "2 ")] == [["2", "2"], ["2", "1"]]
    stages = "decoding JPEG", "bytes to the GPU", "frame pass", "query pass", "answers in pixels"
    assert all(len(rows(page, stage)) == 1 for stage in stages)
    for mode, threads in (("default", "2"), ("max-autotune", "1")):
        ((_, _, frame_pass, times, off, told, rate),) = rows(page, mode)
        assert float(frame_pass.split()[0]) > 0 and float(times) > 0 and float(off) < 1 and int(rate.split()[0]) > 0
        assert told == threads


def test_a_mode_that_fails_is_a_row_and_the_others_go_on(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says what the compiler said first; rates and stages are there all the same."""
    working = torch.compile

    def failing(act: Any, mode: str, **given: Any) -> Any:
        if mode == "max-autotune":
            raise RuntimeError("no C compiler | found\nmore")
        return working(act, mode=mode, **given)

    monkeypatch.setattr(torch, "compile", failing)
    page = run("--compile", "max-autotune", "default")
    assert "| max-autotune | failed: RuntimeError: no C compiler / found | – |" in page
    assert len(rows(page, "default")) == 1 and len(rows(page, "2 ")) == 2


def test_the_page_of_a_gpu_is_not_written_from_a_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures would pass for a GPU's."""
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "name another page with --out" in capsys.readouterr().err


def test_a_batch_has_as_many_pictures_as_it_says(tiny: Path) -> None:
    """More than there are, too: the frames/s of a stage are of the batch that was asked for."""
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(load(str(tiny), "cpu", 8, cast_weights=True), [b"a", b"b", b"c"], pool, 1.0)
        assert bench.encoded(7, 2) == [b"c", b"a", b"b", b"c", b"a", b"b", b"c"]


def test_a_thread_that_fails_leaves_nobody_waiting(tiny: Path) -> None:
    """The others end, and its error is raised."""
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(load(str(tiny), "cpu", 8, cast_weights=True), [b"no picture"], pool, 60.0)
        with pytest.raises(TypeError, match="NoneType"):
            bench.rate(2, 3)


def test_batches_under_way_at_the_end_are_no_loss() -> None:
    """Two threads that end a batch a second each give two a second, wherever the time that counts begins and ends."""
    ended = [[float(number) for number in range(1, 10)], [number + 0.7 for number in range(1, 9)]]
    assert steady(ended) == pytest.approx(2)
    assert enough(ended, 4.9) and not enough(ended, 5.1)


def test_a_slow_thread_works_until_it_has_a_rate() -> None:
    """However short the time that was asked for: three batches of each thread since the last one was warm."""
    fast = [0.1 * number for number in range(1, 100)]
    assert not enough([fast, [1.0, 2.0, 3.0, 4.0, 5.0]], 0.1)
    assert enough([fast, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], 0.1)

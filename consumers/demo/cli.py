"""`simvg demo`: the whole line on this machine, scored against the truth of its clip."""

from __future__ import annotations

import io
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from consumers.demo.plan import demo_queries
from consumers.demo.session import SCRAPE_EVERY_S, Session
from consumers.demo.settings import DemoSettings
from consumers.demo.summary import show
from consumers.demo.truth import read_clip_truth
from consumers.demo.view import screen
from infra.errors import SettingsError
from infra.options import ConfigFile
from infra.settings import load

REFRESH_S = 0.25


def demo(
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End by itself after this time, with a summary.")
    ] = None,
    clip: Annotated[Path | None, typer.Option("--clip", help="Video file; its truth is the .json beside it.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Model folder (default models/line-small).")] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames per second of each camera (default 5).")] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="Play the clip over and over, also in a run with an end.")
    ] = False,
    picture: Annotated[Path | None, typer.Option("--picture", help="Save the last live table as an SVG file.")] = None,
    config: ConfigFile = None,
) -> None:
    """Runs the whole line here: Kafka, Redis, two cameras, one worker, and the alerts as they come.

    One camera plays a rendered clip as a real video file, the other reads an RTSP stream. At the end the alerts are
    compared with the clip's ground truth: exit code 0 only if they match. Ctrl-C stops everything.

    Example: simvg demo --seconds 60
    """
    settings = load(
        DemoSettings,
        flags={"seconds": seconds, "clip": clip, "model": model, "fps": fps, "loop": loop or None},
        file=config,
    )
    for path, remedy in (
        (settings.clip, "give one with --clip; `simvg line clip` renders one"),
        (settings.model, "give one with --model; `simvg train` makes one"),
    ):
        if not path.exists():
            raise SettingsError(f"{path} does not exist; {remedy}")
    if picture is not None:
        _require_place(picture)
    queries = demo_queries()
    session = Session(settings, queries, read_clip_truth(settings.clip.with_suffix(".json")))
    console = Console()
    stop = threading.Event()

    def interrupted(signum: int, frame: FrameType | None) -> None:
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a terminal that is closed; not under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupted) for number in numbers}
    summary = None
    try:
        _run(session, console, stop)
        if session.clip_started is not None:
            if picture is not None:
                _save(picture, session)
            console.print("stopping the cameras", style="dim")
            summary = session.finish()
    finally:
        session.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if summary is None:
        console.print("stopped before the first frames came; nothing is left running")
        raise typer.Exit(130)
    show(summary, queries, console)
    console.print("nothing is left running", style="dim")
    if summary.failures:
        raise typer.Exit(1)


def _screen(session: Session) -> RenderableType:
    left = "running"
    if session.settings.seconds is not None and session.clip_started is not None:
        rest = session.settings.seconds - (session.now() - session.clip_started)
        left = f"{max(0, rest):.0f} s left"
    return screen(
        session.board,
        steps=session.steps,
        cameras=session.cameras,
        skipped=session.skipped,
        queries=session.queries,
        now=session.now(),
        left=left,
    )


def _require_place(picture: Path) -> None:
    """Looked at before the run, so that none is lost for its picture."""
    try:
        if picture.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        picture.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=picture.parent):
            pass
    except OSError as error:
        raise SettingsError(f"--picture {picture} cannot be written ({error.strerror}); name another file") from error


def _save(path: Path, session: Session) -> None:
    recorder = Console(record=True, width=132, file=io.StringIO())
    recorder.print(_screen(session))
    recorder.save_svg(str(path), title="simvg demo")


def _run(session: Session, console: Console, stop: threading.Event) -> None:
    """Draws until the time is over or Ctrl-C; set-up runs beside it. Raises what the set-up or a role raised."""
    failed: list[BaseException] = []

    def prepare() -> None:
        try:
            session.prepare()
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=prepare, name="demo-prepare", daemon=True)
    worker.start()
    scraped = 0.0
    with Live(get_renderable=lambda: _screen(session), console=console, refresh_per_second=1 / REFRESH_S):
        while True:
            if failed:
                raise failed[0]
            if not worker.is_alive():
                session.check()
                if time.monotonic() - scraped > SCRAPE_EVERY_S:
                    session.refresh()
                    scraped = time.monotonic()
                if session.time_is_over:
                    return
            if stop.wait(REFRESH_S):
                session.cancel()
                worker.join()  # what it started is known then, and can be stopped
                return

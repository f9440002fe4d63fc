"""`python -m tests.faults`: kills parts of a real line and compares its alerts with an undisturbed run's."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from infra.process import free_port
from infra.redis_server import LocalRedis
from tests.faults.cluster import LocalCluster
from tests.faults.rounds import FaultRun, Round, Settings, plan_faults, plan_losses

REPOSITORY = Path(__file__).resolve().parents[2]


def show(one: Round) -> None:
    """One line per round."""
    verdict = f"DIFFERS: {one.differences}" if one.differences else "identical"
    inside = f", {one.open_messages} messages left open" if one.open_messages else ""
    typer.echo(
        f"round {one.number:>2}  {one.fault:<41} {one.seconds:6.1f} s  {one.frames:>6} frames  "
        f"{one.transitions:>5} transitions  {verdict}{inside}"
    )


def main(
    rounds: Annotated[int, typer.Option(help="How many faults.")] = 20,
    seed: Annotated[int, typer.Option(help="What is shown, which fault comes when, and where it strikes.")] = 7,
    frames: Annotated[int, typer.Option(help="Frames per camera and round.")] = 40,
    redis_away: Annotated[float, typer.Option(help="Seconds that Redis stays away.")] = 60.0,
    cluster: Annotated[bool, typer.Option("--cluster", help="Three brokers, of which one at a time is lost.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Folder for logs, kept afterwards.")] = None,
) -> None:
    """Two worker processes, four cameras, a broker and a Redis; ends with 1 on any difference."""
    planned = (plan_losses if cluster else plan_faults)(seed, rounds)
    settings = Settings(seed=seed, faults=planned, frames=frames, redis_away_s=redis_away)
    with tempfile.TemporaryDirectory(prefix="simvg-faults-") as temporary:
        folder = keep if keep is not None else Path(temporary)
        servers = LocalCluster(folder, REPOSITORY / ".cache", size=3 if cluster else 1)
        redis = LocalRedis(folder / "redis", port=free_port())
        began = time.monotonic()
        try:
            servers.start()
            redis.start()
            same = FaultRun(settings, servers.settings, servers, redis, folder).run(show)
        except TimeoutError as error:
            typer.echo(f"STUCK: {error}")
            same = False
        finally:
            servers.close()
            redis.stop(kill=True)
        words = "identical to the undisturbed run" if same else "NOT identical to the undisturbed run"
        typer.echo(f"{rounds} rounds, seed {seed}, {time.monotonic() - began:.0f} s: {words}")
        sys.exit(0 if same else 1)


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()

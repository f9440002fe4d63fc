"""A short fault run, so that every change is held to it; `make faults` is the long one, with three brokers as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.broker import LocalBroker
from infra.redis_server import LocalRedis
from infra.settings import KafkaSettings
from tests.faults.rounds import FAULTS, LOSE_BROKER, FaultRun, Round, Settings, plan_faults, plan_losses
from tests.faults.script import write_script


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "faults",
    [
        ("kill a worker inside a transaction", "pause a worker past its session"),
        ("kill and restart the broker", "remove a worker"),
    ],
    ids=["workers", "broker"],
)
def test_faults_change_no_alert(
    faults: tuple[str, ...], broker: LocalBroker, redis_server: LocalRedis, tmp_path: Path
) -> None:
    """Whatever is killed: the same alerts in the same order, each frame done once, evidence where the alerts say."""
    kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, partitions=4)
    settings = Settings(seed=3, faults=faults, frames=20)
    rounds: list[Round] = []
    same = FaultRun(settings, kafka, broker, redis_server, tmp_path).run(rounds.append)
    assert [str(one.differences) for one in rounds] == [""] * len(faults)
    assert same
    assert rounds[-1].transitions > 10, "the script is worth watching"
    inside = [one.open_messages for one in rounds if "inside" in one.fault]
    assert all(inside), "a worker was killed inside a transaction"


def test_every_fault_comes_before_any_comes_again() -> None:
    """Twenty rounds hold each of the eight faults twice at least, in an order of the seed."""
    planned = plan_faults(7, 20)
    assert planned == plan_faults(7, 20) != plan_faults(8, 20)
    assert all(planned.count(fault) >= 2 for fault in FAULTS)


def test_a_cluster_loses_a_broker_every_second_round() -> None:
    """Eight rounds lose four, so that each of three is lost, and between them come faults of other kinds."""
    planned = plan_losses(7, 8)
    assert planned.count(LOSE_BROKER) == 4
    assert len(set(planned)) == 5


def test_script_is_of_the_seed_alone() -> None:
    """Two runs show the same; a restarted camera numbers anew."""
    script = write_script(7, 2, 5, frozenset({1}))
    assert script == write_script(7, 2, 5, frozenset({1})) != write_script(8, 2, 5, frozenset({1}))
    first = next(shot for shot in script[1] if shot.camera == "line-1")
    assert (first.epoch, first.sequence) == ("e2", 0)

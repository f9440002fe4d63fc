"""A Kafka cluster on this machine. Of three, every message is on all and counts when two have it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.broker import LocalBroker, new_cluster_id
from infra.process import free_port
from infra.settings import KafkaSettings


class LocalCluster:
    """Brokers, each a controller too. :meth:`stop` takes away one after the other in turn, :meth:`start` brings all."""

    def __init__(self, folder: Path, cache_dir: Path, *, size: int = 3) -> None:
        self._size = size
        ports = [(free_port(), free_port()) for _ in range(size)]
        voters = ",".join(f"{n + 1}@127.0.0.1:{controller}" for n, (_, controller) in enumerate(ports))
        copies = {
            name: str(size)
            for name in (
                "default.replication.factor",
                "offsets.topic.replication.factor",
                "transaction.state.log.replication.factor",
                "share.coordinator.state.topic.replication.factor",
            )
        }
        enough = str(size // 2 + 1)
        shared = copies | {
            "controller.quorum.voters": voters,
            "min.insync.replicas": enough,
            "transaction.state.log.min.isr": enough,
            "share.coordinator.state.topic.min.isr": enough,
            # One that is gone is noticed soon: the tests wait for it.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
        }
        cluster = new_cluster_id()
        self.brokers = [
            LocalBroker(
                folder / f"broker-{number + 1}",
                port=port,
                controller_port=controller,
                cache_dir=cache_dir,
                heap_mb=320,
                properties=shared | {"node.id": str(number + 1)},
                cluster_id=cluster,
            )
            for number, (port, controller) in enumerate(ports)
        ]
        self._turns = itertools.cycle(self.brokers)

    @property
    def settings(self) -> KafkaSettings:
        """How to reach it, by any of its brokers."""
        addresses = ",".join(broker.settings.bootstrap for broker in self.brokers)
        return KafkaSettings(bootstrap=addresses, replication=self._size, partitions=4)

    def start(self) -> bool:
        """Starts what does not run; together, because one alone is no quorum."""
        with ThreadPoolExecutor(self._size) as pool:
            return any(list(pool.map(lambda broker: broker.start(), self.brokers)))

    def stop(self, *, kill: bool = False) -> bool:
        """Takes the next one away."""
        return next(self._turns).stop(kill=kill)

    def close(self) -> None:
        for broker in self.brokers:
            broker.stop(kill=True)

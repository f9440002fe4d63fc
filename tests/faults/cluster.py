"""A Kafka cluster on this machine. Of three, every message is on all and counts when two have it.

It stands the loss of one broker. A second one that is lost before the first has caught up stops it (nothing is lost,
nothing goes on until one is back): :meth:`LocalCluster.start` therefore waits until every partition is on all of them.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.broker import LocalBroker, new_cluster_id
from infra.kafka_client import client_config
from infra.process import free_port
from infra.settings import KafkaSettings

WHOLE_SECONDS = 60.0


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
        """Starts what does not run; together, because one alone is no quorum. Returns when all have caught up."""
        with ThreadPoolExecutor(self._size) as pool:
            started = any(list(pool.map(lambda broker: broker.start(), self.brokers)))
        deadline = time.monotonic() + WHOLE_SECONDS
        while behind := self._behind():
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {WHOLE_SECONDS:.0f} s not on all brokers: {', '.join(behind)}")
            time.sleep(0.2)
        return started

    def _behind(self) -> list[str]:
        """Partitions that are not on all of their brokers, Kafka's own (of groups and transactions) too."""
        admin = AdminClient(client_config(self.settings, client_id="fault-cluster"))
        try:
            metadata = admin.list_topics(timeout=10)
        except KafkaException as error:
            return [str(error)]
        if len(metadata.brokers) < self._size:
            return [f"{self._size - len(metadata.brokers)} brokers"]
        return [
            f"{topic} [{number}]"
            for topic, described in metadata.topics.items()
            for number, partition in described.partitions.items()
            if set(partition.isrs) != set(partition.replicas) or partition.leader < 0
        ]

    def stop(self, *, kill: bool = False) -> bool:
        """Takes the next one away."""
        return next(self._turns).stop(kill=kill)

    def close(self) -> None:
        for broker in self.brokers:
            broker.stop(kill=True)

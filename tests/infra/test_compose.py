"""docker-compose.yml describes the same system as the local stack."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers.grounding.ending import REST_SECONDS
from consumers.grounding.settings import WorkerSettings
from infra.kafka_libs import KAFKA_DIR, POM
from infra.settings import (
    DEFAULT_KAFKA_PORT,
    DEFAULT_REDIS_PORT,
    ENV_PREFIX,
    RoleSettings,
    dotted_names,
    environment_name,
)
from infra.topics import MAX_REJECTED_BYTES, TOPICS
from producers.settings import CameraSettings

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]

# How a broker is reached and where it keeps its data differ between a container and this machine.
_OWN = ("listener", "advertised.", "controller.", "log.dirs", "process.roles", "node.id", "inter.broker.")

ROLES: dict[str, type[RoleSettings]] = {
    "topics": RoleSettings,
    "camera-1": CameraSettings,
    "camera-2": CameraSettings,
    "worker-cpu": WorkerSettings,
    "worker-gpu": WorkerSettings,
}

_SEEN_MB = {
    "camera-1": 182,
    "camera-2": 182,
    "worker-cpu": 359 + 74,
    "worker-gpu": 359 + 74,
    "redis": 30,
    "topics": 130,
}
"""Resident memory: a camera that plays `line:`, docs/benchmarks/edge.md with the 1,000 queries of memory.md."""

_CAMERA, _WORKER = CameraSettings(id="x", source="line:"), WorkerSettings()
_TO_STOP = {
    "camera-1": _CAMERA.flush_seconds + 5.5,
    "camera-2": _CAMERA.flush_seconds + 5.5,
    "worker-cpu": _WORKER.drain_s + REST_SECONDS,
    "worker-gpu": _WORKER.drain_s + REST_SECONDS,
    "kafka": 20.0 / 1.5,  # as the local stack waits
    "redis": 20.0 / 1.5,
}
"""The longest that each may take to stop, s."""


def _megabytes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]


def _properties() -> dict[str, str]:
    lines = (KAFKA_DIR / "server.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_broker_is_tuned_as_the_local_one() -> None:
    """Every broker setting of the local stack stands in the compose file with the same value, and no other."""
    local = {key: value for key, value in _properties().items() if not key.startswith(_OWN)}
    environment = SERVICES["kafka"]["environment"]
    named = {key.removeprefix("KAFKA_").replace("_", ".").lower(): value for key, value in environment.items()}
    composed = {key: value for key, value in named.items() if not key.startswith((*_OWN, "heap.opts"))}
    assert composed == local


def test_broker_takes_the_largest_message_of_any_topic() -> None:
    """What the topics allow, the broker and its replicas allow too."""
    limits = [int(spec.config.get("max.message.bytes", 0)) for spec in TOPICS.values()]
    assert max(limits) == MAX_REJECTED_BYTES
    assert {_properties()[f"{name}.max.bytes"] for name in ("message", "replica.fetch")} == {str(MAX_REJECTED_BYTES)}


def test_broker_is_of_the_same_version() -> None:
    """The image's tag is the version that Maven resolves."""
    project = xml.etree.ElementTree.parse(POM).getroot()
    version = project.findtext("{*}properties/{*}kafka.version")
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_ports_are_those_of_the_local_stack() -> None:
    """From the host, Kafka and Redis are where the default settings look for them."""
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{DEFAULT_KAFKA_PORT}:{DEFAULT_KAFKA_PORT}"]
    assert f"HOST://127.0.0.1:{DEFAULT_KAFKA_PORT}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert SERVICES["redis"]["ports"] == [f"127.0.0.1:{DEFAULT_REDIS_PORT}:6379"]


@pytest.mark.parametrize("service", ROLES)
def test_settings_of_a_service_exist(service: str) -> None:
    """Every SIMVG_ variable is a setting of the service's role."""
    known = {environment_name(name) for name in dotted_names(ROLES[service])}
    assert set(SERVICES[service].get("environment", {})) <= known


def test_topics_are_created_before_anybody_needs_them() -> None:
    """Cameras and workers wait for the job that creates the topics, which waits for a healthy broker."""
    assert SERVICES["topics"]["command"] == ["topics", "create"]
    assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    for service in ("camera-1", "camera-2", "worker-cpu", "worker-gpu"):
        assert SERVICES[service]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_gpu_is_reserved_for_the_gpu_profile_only() -> None:
    """One profile asks for a GPU, the other for none."""
    devices = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert "deploy" not in SERVICES["worker-cpu"]
    assert (SERVICES["worker-cpu"]["profiles"], SERVICES["worker-gpu"]["profiles"]) == (["cpu"], ["gpu"])


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "topics"])
def test_lasting_services_have_a_health_check(service: str) -> None:
    """Everything that runs on says whether it is well."""
    assert SERVICES[service]["healthcheck"]["test"]


@pytest.mark.parametrize("service", SERVICES)
def test_logs_are_bounded(service: str) -> None:
    """No service fills the disk with what it says."""
    options = SERVICES[service]["logging"]["options"]
    assert SERVICES[service]["logging"]["driver"] == "json-file"
    assert int(options["max-size"].removesuffix("m")) * int(options["max-file"]) <= 200


@pytest.mark.parametrize("service", SERVICES)
def test_memory_is_bounded(service: str) -> None:
    """Nothing takes the machine's last memory, and each has some times what it was seen to take."""
    limit = _megabytes(SERVICES[service]["mem_limit"])
    assert _SEEN_MB.get(service, 0) * 2 <= limit <= 8 * 1024


def test_broker_has_room_beside_its_heap() -> None:
    """Heap, as much again for Java itself and buffers, and the health check's own Java stay under the limit."""
    heap, check = (
        _megabytes(re.findall(r"-Xmx(\d+m)", text)[0])
        for text in (
            SERVICES["kafka"]["environment"]["KAFKA_HEAP_OPTS"],
            " ".join(SERVICES["kafka"]["healthcheck"]["test"]),
        )
    )
    assert check <= 64
    assert 2 * heap + 3 * check <= _megabytes(SERVICES["kafka"]["mem_limit"])


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "topics"])
def test_lasting_services_come_back(service: str) -> None:
    """After a crash or a restart of the machine; the job that creates topics runs once."""
    assert SERVICES[service]["restart"] == "unless-stopped"
    assert "restart" not in SERVICES["topics"]


@pytest.mark.parametrize(("service", "seconds"), _TO_STOP.items())
def test_service_has_the_time_to_stop(service: str, seconds: float) -> None:
    """Docker kills after ten seconds, which is before a camera without Kafka has told what became of its frames."""
    assert int(SERVICES[service]["stop_grace_period"].removesuffix("s")) >= 1.5 * seconds


def test_variables_for_docker_are_no_settings() -> None:
    """Those that are exported for Docker stand in the environment of `simvg query …` too, which refuses unknown
    names of ours."""
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    names = set(re.findall(r"\$\{(\w+)", text))
    assert names and not [name for name in names if name.upper().startswith(ENV_PREFIX)]


@pytest.mark.parametrize("service", ["kafka", "redis", "worker-cpu", "worker-gpu"])
def test_state_is_kept_in_volumes(service: str) -> None:
    """Data survives the containers."""
    assert all(volume.split(":")[0] in COMPOSE["volumes"] for volume in SERVICES[service]["volumes"])


def test_health_checks_ask_whether_the_work_is_done() -> None:
    """Cameras and workers are asked at /readyz, on the port where their settings serve it."""
    for service in ("camera-1", "camera-2", "worker-cpu", "worker-gpu"):
        port = SERVICES[service]["environment"]["SIMVG_TELEMETRY__METRICS_PORT"]
        assert f"http://127.0.0.1:{port}/readyz" in " ".join(SERVICES[service]["healthcheck"]["test"])


def test_observability_comes_on_request_with_the_files_of_this_repository() -> None:
    """Prometheus and Grafana run under their profile only, and every file of ours that they mount exists."""
    for service in ("prometheus", "grafana"):
        assert SERVICES[service]["profiles"] == ["observability"]
        own = [volume.split(":")[0] for volume in SERVICES[service]["volumes"] if volume.startswith("./")]
        assert own
        assert all((REPOSITORY / path).is_dir() for path in own)
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


def test_prometheus_reads_every_camera_and_worker() -> None:
    """The targets of prometheus.yml are the services here, on the port where they serve metrics."""
    jobs = yaml.safe_load((REPOSITORY / "infra/prometheus/prometheus.yml").read_text(encoding="utf-8"))[
        "scrape_configs"
    ]
    static = {target for job in jobs for part in job.get("static_configs", []) for target in part["targets"]}
    found = {(name, part["port"]) for job in jobs for part in job.get("dns_sd_configs", []) for name in part["names"]}
    port = COMPOSE["x-environment"]["SIMVG_TELEMETRY__METRICS_PORT"]
    assert static == {f"{name}:{port}" for name in SERVICES if name.startswith("camera-")}
    assert found == {(name, int(port)) for name in SERVICES if name.startswith("worker-")}


def test_camera_image_has_what_the_product_needs_but_the_model() -> None:
    """The camera image's list is the product's dependencies and those of a camera, without those of the model."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["camera"]
    needed = {re.split(r"[<>=!~ ]", line)[0] for line in lines}
    listed = (REPOSITORY / "infra/docker/camera-requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line for line in listed if line and not line.startswith("#")}
    assert needed - names == {"lapx", "simplejpeg", "tokenizers"}
    assert names <= needed

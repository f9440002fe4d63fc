"""Prometheus reads the running system: every query of a dashboard and every rule finds what it is about."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from consumers.grounding.settings import WorkerSettings
from infra.contracts import Delay, StandingQuery
from infra.kafka import Publisher
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.settings import KafkaSettings, RedisSettings, TelemetrySettings
from infra.topics import topic_name
from tests.infra.test_telemetry import _get

REPOSITORY = Path(__file__).resolve().parents[2]
PROMETHEUS = REPOSITORY / "infra/prometheus"
DASHBOARDS = sorted((REPOSITORY / "infra/grafana/dashboards").glob("*.json"))
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [
    (path.stem, panel["title"], target["expr"])
    for path in DASHBOARDS
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    for target in panel.get("targets", [])
]
VARIABLES = [
    (path.stem, variable["query"]["query"])
    for path in DASHBOARDS
    for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
]

READER = """
import sys
from consumers.alerts import read_alerts
from infra.settings import KafkaSettings
from infra.telemetry import start_metrics
start_metrics(int(sys.argv[3]))
for alert in read_alerts(KafkaSettings(bootstrap=sys.argv[1], prefix=sys.argv[2]), from_beginning=True):
    print(alert.id, flush=True)
"""
"""A program of somebody who reads alerts."""

Until = Callable[..., None]


class Prometheus:
    """A real Prometheus with the rules of this repository, reading the given targets every second."""

    def __init__(self, folder: Path, targets: dict[str, list[int]]) -> None:
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        assert [job["job_name"] for job in config["scrape_configs"]] == list(targets), "the jobs are those of the file"
        config["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{one}" for one in ports]}]}
            for job, ports in targets.items()
        ]
        folder.mkdir()
        shutil.copy(PROMETHEUS / "rules.yml", folder)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        program = shutil.which("prometheus")
        assert program is not None, "install Debian's prometheus (scripts/setup.sh test does)"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def names(self) -> set[str]:
        """Names that an expression may use: every metric that is exposed, with those that a histogram stands for."""
        metadata = self.get("metadata")
        names = set(metadata) | {"up"}
        histograms = {name for name, facts in metadata.items() if facts[0]["type"] == "histogram"}
        counters = {name for name, facts in metadata.items() if facts[0]["type"] == "counter"}
        names |= {f"{name.removesuffix('_total')}_total" for name in counters}  # OpenMetrics leaves the ending out
        return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


def _pictures(folder: Path) -> Path:
    """Red squares for a while, then none: an alert that is raised and cleared again and again."""
    folder.mkdir()
    for number in range(12):
        pixels = np.full((480, 640, 3), 128, np.uint8)  # over 1,000 bytes also without a square
        if number < 6:
            pixels[160:320, 240:400] = (40, 40, 220)
        cv2.imwrite(str(folder / f"{number:02}.jpg"), pixels)
    return folder


@pytest.fixture
def line(
    kafka: KafkaSettings, redis_settings: RedisSettings, tmp_path: Path, until: Until
) -> Iterator[tuple[Prometheus, dict[str, int]]]:
    """Cameras, a worker, a reader and a Prometheus, all in processes of their own, until alerts have been seen."""
    registry = QueryRegistry(redis_settings)
    now = datetime.now(UTC)
    facts = {"id": "red", "text": "red", "cameras": ("line-1",), "created": now, "changed": now}
    delays = {"on_delay": Delay.parse("1"), "off_delay": Delay.parse("1")}
    registry.add(StandingQuery.model_validate(facts | delays | {"severity": "critical"}))
    # The worker is too slow for all frames, so that looks of this one are left out.
    registry.add(StandingQuery.model_validate(facts | delays | {"id": "green", "text": "green", "severity": "low"}))
    registry.close()
    ports = {name: free_port() for name in ("line-1", "line-2", "away", "worker", "reader")}
    pictures = _pictures(tmp_path / "pictures")
    simvg = [sys.executable, "-m", "simvg", "camera", "--kafka", kafka.bootstrap, "--topic-prefix", kafka.prefix]

    def camera(id: str, source: str, *more: str) -> list[str]:
        return [*simvg, "--id", id, source, "--metrics-port", str(ports[id]), *more]

    settings = WorkerSettings(
        kafka=kafka,
        redis=redis_settings,
        telemetry=TelemetrySettings(metrics_port=ports["worker"]),
        worker_id="w1",
        cache_dir=tmp_path / "worker",
    )
    large = tmp_path / "large.yaml"
    large.write_text("max_message_bytes: 1000\n", encoding="utf-8")
    commands = [
        camera("line-1", str(pictures), "--fps", "5", "--loop"),
        camera("line-2", str(pictures), "--fps", "2", "--loop", "--config", str(large)),  # its frames are too large
        camera("away", f"rtsp://127.0.0.1:{free_port()}/none"),
        [sys.executable, "-m", "tests.consumers.grounding.colour_worker", settings.model_dump_json(), "0.4"],
        [sys.executable, "-c", READER, kafka.bootstrap, kafka.prefix, str(ports["reader"])],
    ]
    with (tmp_path / "log").open("w") as log, contextlib.ExitStack() as processes:
        for command in commands:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY)
            processes.callback(process.wait)
            processes.callback(process.terminate)
        cameras = [ports[name] for name in ("line-1", "line-2", "away")]
        targets = {"simvg-camera": cameras, "simvg-reader": [ports["reader"]], "simvg-worker": [ports["worker"]]}
        prometheus = Prometheus(tmp_path / "prometheus", targets)
        processes.callback(prometheus.stop)
        with Publisher(kafka, client_id="test") as publisher:  # one message that is no frame: rejected
            publisher.send(topic_name(kafka.prefix, "frames"), key=b"line-1", value=b"no frame")

        def seen(expression: str) -> Callable[[], object]:
            def look() -> object:
                with contextlib.suppress(OSError):
                    return prometheus.query(expression)
                return None

            return look

        until(seen("count(up == 1) == 5"), 400)
        until(seen('rate(simvg_worker_alerts_total{state="raised"}[1m]) > 0'), 120)
        until(seen("rate(simvg_worker_frames_rejected_total[1m]) >= 0"), 120)
        until(seen('rate(simvg_worker_looks_shed_total{query="green"}[1m]) > 0'), 120)
        yield prometheus, ports


def _metrics(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:simvg_\w+|process_\w+|up\b)", re.sub(r"\{[^}]*\}|\([a-z, ]*\)", "", expression)))


@pytest.mark.timeout(1000)
def test_dashboards_and_rules_find_their_metrics(line: tuple[Prometheus, dict[str, int]], until: Until) -> None:
    """Every metric that a panel or rule names is exposed; every panel has data, and every rule but for its threshold.

    Also what the endpoints of a line that is well, and of a camera that is away, answer.
    """
    prometheus, ports = line
    names = prometheus.names()
    empty = []
    for where, title, expression in PANELS:
        filled = re.sub(r"\$__rate_interval", "1m", expression).replace("$camera", ".*").replace("$instance", ".*")
        assert _metrics(filled), expression
        assert _metrics(filled) <= names, f"{where}: {title}: {_metrics(filled) - names}"
        if not prometheus.query(filled):
            empty.append(f"{where}: {title}: {filled}")
    for where, query in VARIABLES:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
        if not [one for one in prometheus.query(series) if label in one["metric"]]:
            empty.append(f"{where}: {query}")
    for rule in RULES:
        condition = rule["expr"]
        inner, compared, _ = re.fullmatch(r"(.*) (==|>|<) ([\d.]+)", condition, re.DOTALL).groups()  # type: ignore[union-attr]
        assert compared
        assert _metrics(inner) <= names, f"{rule['alert']}: {_metrics(inner) - names}"
        if not prometheus.query(inner):
            empty.append(f"{rule['alert']}: {inner}")
    assert not empty, "nothing is found by:\n" + "\n".join(empty)
    groups = prometheus.get("rules")["groups"]
    assert [rule["health"] for group in groups for rule in group["rules"]] == ["ok"] * len(RULES)
    left_out = {one["metric"]["severity"] for one in prometheus.query("simvg_worker_sampling < 1")}
    assert left_out == {"low"}, "of an overloaded worker, and of no other severity"
    followed = {rule["alert"] for rule in RULES if re.search("simvg_(registry_available|query_set_rev)", rule["expr"])}
    assert followed == {"RegistryAway", "WorkersDiffer"}
    assert not prometheus.query(f'ALERTS{{alertname=~"{"|".join(followed)}"}}'), "cameras follow no queries"
    silent = {one["metric"]["camera"] for one in prometheus.query("simvg_camera_up == 0")}
    assert silent == {"away"}

    for name in ("line-1", "worker"):
        for path in ("/livez", "/readyz"):
            status, body = _get(ports[name], path)
            assert status == 200, f"{name}{path}: {body}"
            assert json.loads(body)["checks"]
    status, body = _get(ports["away"], "/readyz")
    assert status == 503
    assert "nothing listens" in json.loads(body)["checks"]["camera"]
    assert _get(ports["away"], "/livez")[0] == 200, "a camera that is away is no reason to restart"
    status, body = _get(ports["line-2"], "/readyz")
    assert (status, json.loads(body)["checks"]["publishing"]) == (503, "no frame is confirmed yet")


def test_dashboards_are_valid() -> None:
    """Each is of the schema version that Grafana 11 writes, with unique ids, known data source and no overlaps."""
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == 4
    source = yaml.safe_load(
        (REPOSITORY / "infra/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )["datasources"][0]
    for board in boards:
        assert board["schemaVersion"] == 39
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, panel["title"]
            taken |= cells
            references = [target["refId"] for target in panel.get("targets", [])]
            assert len(set(references)) == len(references)
            assert {target["datasource"]["uid"] for target in panel.get("targets", [])} <= {source["uid"]}


def test_shipped_configuration_is_valid() -> None:
    """Prometheus itself finds no fault in the file that it is given, and none in the rules that it names."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "install Debian's prometheus (scripts/setup.sh test does)"
    checked = subprocess.run(
        [promtool, "check", "config", str(PROMETHEUS / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def test_rules_fire_when_they_should_and_only_then() -> None:
    """Prometheus tests each rule: it fires on its fault, with its words, and not on a line that is well."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "install Debian's prometheus (scripts/setup.sh test does)"
    checked = subprocess.run(
        [promtool, "test", "rules", str(Path(__file__).parent / "prometheus_rules_test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = yaml.safe_load((Path(__file__).parent / "prometheus_rules_test.yml").read_text(encoding="utf-8"))
    fired = {
        check["alertname"] for test in tested["tests"] for check in test["alert_rule_test"] if check.get("exp_alerts")
    }
    quiet = {
        check["alertname"]
        for test in tested["tests"]
        for check in test["alert_rule_test"]
        if not check.get("exp_alerts")
    }
    assert fired == quiet == {rule["alert"] for rule in RULES}, "every rule is tried both ways"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_says_what_to_do(rule: dict[str, Any]) -> None:
    """Severity, what is wrong, and what to do about it."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "action"}

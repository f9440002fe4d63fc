"""Java and the Kafka broker's libraries: found, or resolved by Maven once per pinned version."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.errors import StackError

KAFKA_DIR = Path(__file__).parent / "kafka"
POM = KAFKA_DIR / "pom.xml"
JAVA_VERSION = 17

JAVA_REMEDY = (
    "install it with `apt-get install -y openjdk-17-jre-headless` (default-jre-headless where there is no 17 any "
    "more), or set JAVA_HOME"
)
MAVEN_REMEDY = "install it with `apt-get install -y maven`"

_COMPLETE = ".complete"


def find_java() -> Path:
    """The Java program. Raises StackError with the command that installs it when it is missing or too old."""
    home = os.environ.get("JAVA_HOME")
    found = (
        str(Path(home) / "bin" / "java") if home and (Path(home) / "bin" / "java").exists() else None
    ) or shutil.which("java")
    if found is None:
        raise StackError(f"Java is missing; Kafka needs version {JAVA_VERSION} or later: {JAVA_REMEDY}")
    try:
        said = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"Java at {found} does not run: {error}; {JAVA_REMEDY}") from error
    version = re.search(r'version "(\d+)(?:\.(\d+))?', said)
    major = int(version[2] if version[1] == "1" and version[2] else version[1]) if version else 0
    if major < JAVA_VERSION:
        raise StackError(f"Java at {found} is version {major}; Kafka needs {JAVA_VERSION} or later: {JAVA_REMEDY}")
    return Path(found)


def java_environment() -> dict[str, str]:
    """Ours, with a locale in which Java finds a folder whose name is not plain ASCII."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def libraries_dir(cache_dir: Path) -> Path:
    """Where the jars of the pinned version lie, or will lie: another pom, another folder."""
    return cache_dir / "kafka-libs" / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]


def kafka_libraries(cache_dir: Path, report: Callable[[str], None] = lambda text: None) -> Path:
    """The folder with the broker's jars, resolved by Maven if they are not there yet.

    Raises StackError when Maven is missing (with the command that installs it) or fails (with its last lines).
    """
    target = libraries_dir(cache_dir)
    if (target / _COMPLETE).exists():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(f"Maven is missing; it fetches Apache Kafka: {MAVEN_REMEDY}")
    report("fetching Apache Kafka with Maven (44 MB, once)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="resolving-") as scratch:
        jars = Path(scratch) / "jars"
        command = [
            maven,
            "-q",
            "-B",
            "-f",
            str(POM),
            f"-DoutputDirectory={jars.absolute()}",
            "dependency:copy-dependencies",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=java_environment()
        )
        if done.returncode != 0 or not any(jars.glob("kafka_2.13-*.jar")):
            tail = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
            raise StackError(f"Maven could not fetch Apache Kafka; check the network and try again. It said:\n{tail}")
        (jars / _COMPLETE).touch()
        if not (target / _COMPLETE).exists():
            shutil.rmtree(target, ignore_errors=True)
            jars.replace(target)
    return target

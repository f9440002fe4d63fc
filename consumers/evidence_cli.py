"""`simvg evidence`: the picture that goes with an alert, with what was found drawn on it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from consumers.alerts import read_alerts, whole_id
from consumers.evidence import EvidenceReader, as_pictured
from consumers.saving import require_file, writing
from infra.contracts import Alert, MessageReference
from infra.errors import BadAlertMessage
from infra.options import ConfigFile, Kafka, Prefix
from infra.settings import KafkaSettings, RoleSettings, load

SUFFIXES = (".png", ".jpg", ".jpeg")
RED = (48, 48, 230)


def find_alert(kafka: KafkaSettings, begin: str) -> Alert:
    """The one alert whose id begins so, as it was raised, which is what its picture shows; its last transition where
    only that is still kept.

    Raises UnknownAlert if none or several begin so.
    """
    found: dict[str, Alert] = {}
    for alert in read_alerts(kafka, from_beginning=True, to_end=True):
        if isinstance(alert, Alert) and alert.id.startswith(begin):
            found[alert.id] = as_pictured(found.get(alert.id), alert)
    return found[whole_id(begin, found)]


def fetch_evidence(kafka: KafkaSettings, alert_id: str, place: MessageReference) -> bytes:
    """The alert's frame as JPEG. Raises BadAlertMessage when retention has removed it, or something else lies there."""
    with closing(EvidenceReader(kafka, client_id="simvg-evidence")) as reader:
        image = reader.frame(alert_id, place)
    if image is None:
        raise BadAlertMessage(
            f"evidence at {place.topic}/{place.partition}/{place.offset} is no longer kept: retention has removed it"
        )
    return image


def annotated(image: bytes, alert: Alert) -> NDArray[np.uint8]:
    """The evidence (BGR) with the alert's boxes, its query and its score drawn on it."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise BadAlertMessage(f"evidence of alert {alert.id} is no image that can be decoded")
    height, width = pixels.shape[:2]
    scale = max(width / 900, 0.45)
    for x0, y0, x1, y1 in alert.boxes:
        corners = (round(x0 * width), round(y0 * height)), (round(x1 * width), round(y1 * height))
        cv2.rectangle(pixels, *corners, RED, max(2, round(2 * scale)), cv2.LINE_AA)
    text = f"{alert.query.text}  {alert.score:.2f}  {alert.camera}  {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC"
    strip = np.full((round(34 * scale), width, 3), 32, np.uint8)
    cv2.putText(
        strip, text, (8, round(23 * scale)), cv2.FONT_HERSHEY_SIMPLEX, 0.55 * scale, (240, 240, 240), 1, cv2.LINE_AA
    )
    return np.asarray(np.vstack([strip, pixels]), np.uint8)


def evidence(
    alert_id: Annotated[str, typer.Argument(help="Id of the alert, or how it begins, as `simvg alerts` shows it.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .png or .jpg.")] = Path("evidence.png"),
    raw: Annotated[bool, typer.Option("--raw", help="The frame as it was stored, without drawing.")] = False,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Saves the picture of an alert, with the found places marked.

    Example: simvg evidence a-1f0c9d2e4b5a6c7d8e9f --out alert.png
    """
    require_file(out, suffixes=() if raw else SUFFIXES)
    settings = load(RoleSettings, flags={"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix}, file=config)
    alert = find_alert(settings.kafka, alert_id)
    if alert.evidence is None:
        raise BadAlertMessage(f"alert {alert.id} was raised without a picture")
    image = fetch_evidence(settings.kafka, alert.id, alert.evidence)
    if not raw:
        encoded, drawn = cv2.imencode(out.suffix.lower(), annotated(image, alert))
        assert encoded, "an image of 8 bits with three channels can be encoded"
        image = drawn.tobytes()
    with writing(out):
        out.write_bytes(image)
    told = f"{alert.query.text} at {alert.camera}: {alert.reason} → {out}"
    Console().print(escape(told), highlight=False, soft_wrap=True)

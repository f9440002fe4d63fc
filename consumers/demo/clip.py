"""Joining video files without encoding them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.errors import SettingsError
from infra.extras import extra


def join_clips(clips: Sequence[Path], out: Path) -> Path:
    """Writes the packets of all clips, one after the other, into one MP4 at ``out``, which is returned.

    All clips have the same codec settings, as those of one rendering run do. Raises SettingsError without a clip,
    or without PyAV.
    """
    if not clips:
        raise SettingsError("no pass_*.mp4 beside the demo clip; `simvg line clip` writes them")
    with extra("camera", module="av", package="PyAV", what="the demo's stream"):
        import av
    out.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(out), "w") as joined:
        stream = None
        start = 0
        for clip in clips:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = joined.add_stream_from_template(video)
                end = 0
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue  # the flush packet at the end of the file
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts += start
                    packet.dts += start
                    packet.stream = stream
                    joined.mux(packet)
                start += end
    return out

"""Faults of FFmpeg in plain words. Its own messages name the whole URL, credentials included: they go nowhere."""

from __future__ import annotations

from av import error as av_error
from av.error import FFmpegError

from infra.errors import CameraError

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (av_error.ConnectionRefusedError, "nothing listens at that address; check host and port, and that it is on"),
    (av_error.HTTPUnauthorizedError, "the camera refuses the user name or password"),
    (av_error.HTTPForbiddenError, "the camera forbids access to this stream"),
    (av_error.HTTPNotFoundError, "the camera knows no such stream; check the path"),
    (av_error.HTTPError, "the camera answers with an error"),
    (av_error.ExitError, "no answer in time; check the network and that the camera is on"),
    (TimeoutError, "no answer in time; check the network and that the camera is on"),
    (PermissionError, "access is not permitted"),
    (FileNotFoundError, "there is no such file"),
    (av_error.InvalidDataError, "what comes from there is no video that can be read"),
    (EOFError, "the stream ended"),
    (ConnectionError, "the connection was cut"),
    (OSError, "it cannot be reached; check the name of the host and the network"),
)


def camera_fault(doing: str, shown: str, error: BaseException) -> CameraError:
    """``("open", "rtsp://host/x", error)`` → CameraError. ``shown`` is the address without credentials.

    Its cause carries number and text of FFmpeg's error without the URL. Raise it outside of the ``except`` block, or
    the error with the URL hangs on it as its context.
    """
    reason = next((words for kind, words in _WORDS if isinstance(error, kind)), "it cannot be read")
    text = getattr(error, "strerror", None)
    fault = CameraError(f"cannot {doing} {shown}: {reason}" + (f" ({text})" if text else ""))
    if isinstance(error, FFmpegError):
        fault.__cause__ = type(error)(error.errno or 0, text or "")
    return fault

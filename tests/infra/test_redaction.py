"""Credentials do not reach people."""

from __future__ import annotations

import pytest

from infra.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("no address", "no address"),
        ("rtsp://camera.local:554/main", "rtsp://camera.local:554/main"),
        ("rtsp://admin:hush@camera.local/main", "rtsp://***@camera.local/main"),
        ("rtsp://admin@camera.local/main", "rtsp://***@camera.local/main"),
        ("rtsp://admin:hu@sh@camera.local/main", "rtsp://***@camera.local/main"),
        ("rtsp://admin:hu/sh@camera.local/main", "rtsp://***@camera.local/main"),
        ("redis://:hush@host:6379/0 is away", "redis://***@host:6379/0 is away"),
        ("http://h/video?user=a&password=hush&x=1", "http://h/video?user=a&password=***&x=1"),
        ("from 'rtsp://a:hush@h/1' to \"rtsp://b:hush@h/2\"", "from 'rtsp://***@h/1' to \"rtsp://***@h/2\""),
        ("write to a@b.example about http://h/", "write to a@b.example about http://h/"),
    ],
)
def test_credentials_are_hidden(text: str, expected: str) -> None:
    """User info and secret parameters of URLs are replaced, the rest stays."""
    assert redact(text) == expected

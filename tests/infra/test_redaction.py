"""Credentials do not reach people."""

from __future__ import annotations

import pytest

from infra.redaction import hide_user, redact


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
        ("cannot open 10.0.0.7/video?user=a&pwd=pw12", "cannot open 10.0.0.7/video?user=a&pwd=***"),
        ("rtsp://10.0.0.7/user=a_pwd=pw12_channel=1 is away", "rtsp://10.0.0.7/user=a_pwd=*** is away"),
        ("rtsp://10.0.0.7:554/user=a&password=p@w12 is away", "rtsp://*** is away"),
        ("rtsp://a:pw/pass=12@h/s", "rtsp://***"),
        ("from 'rtsp://a:hush@h/1' to \"rtsp://b:hush@h/2\"", "from 'rtsp://***@h/1' to \"rtsp://***@h/2\""),
        ("write to a@b.example about http://h/", "write to a@b.example about http://h/"),
    ],
)
def test_credentials_are_hidden(text: str, expected: str) -> None:
    """User info and secret parameters of URLs are replaced, the rest stays."""
    assert redact(text) == expected


def test_at_of_a_password_among_parameters_does_not_show_its_rest() -> None:
    """What follows the last ``@`` may be the rest of a password: nothing of the address is shown."""
    assert hide_user("rtsp://10.0.0.7:554/user=a&password=p@w12") == "rtsp://***"
    assert hide_user("10.0.0.7/user=a&password=p@w12") == "***"

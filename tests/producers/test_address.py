"""Addresses are shown without credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.address import shown_address


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        pytest.param("rtsp://host:554/stream1", "rtsp://host:554/stream1", id="nothing-to-hide"),
        pytest.param("rtsp://user:pass@host/stream1", "rtsp://***@host/stream1", id="user-and-password"),
        pytest.param("RTSP://user@host/s", "rtsp://***@host/s", id="user-alone"),
        pytest.param("http://user:p@ss/w@rd@host/s", "http://***@host/s", id="unescaped-password"),
        pytest.param("http://host/video.cgi?user=me&pwd=x", "http://host/video.cgi?…", id="query"),
        pytest.param("rtsp://host/user=me_password=x_channel=1", "rtsp://host/***", id="password-in-path"),
        pytest.param("/dev/video0", "/dev/video0", id="device"),
        pytest.param("clips/a.mp4", "clips/a.mp4", id="file"),
        pytest.param("admin:geheim99@10.0.0.7/stream1", "***@10.0.0.7/stream1", id="no-scheme"),
        pytest.param("rtsp:/admin:geheim99@10.0.0.7/s", "***@10.0.0.7/s", id="one-slash"),
        pytest.param("rtsp//admin:geheim99@10.0.0.7/s", "***@10.0.0.7/s", id="no-colon"),
        pytest.param("rtsp:admin:geheim99@10.0.0.7/s?pwd=x", "***@10.0.0.7/s?…", id="no-slash"),
        pytest.param("clips/a@b.mp4", "***@b.mp4", id="no-file"),
        pytest.param("clips/keyhole?#2.mp4", "clips/keyhole?#2.mp4", id="no-file-and-no-value"),
        pytest.param("10.0.0.7/user=admin&password=pw12", "10.0.0.7/***", id="no-scheme-password-in-path"),
        pytest.param("10.0.0.7/video?user=admin&pwd=pw12", "10.0.0.7/video?…", id="no-scheme-query"),
        pytest.param("10.0.0.7/user=admin&password=p@w12", "***", id="no-scheme-at-in-password"),
        pytest.param("10.0.0.7;password=pw12", "***", id="no-scheme-password-at-host"),
        pytest.param("rtsp://10.0.0.7:554/user=admin&password=p@w12/s", "rtsp://***", id="at-in-password-in-path"),
        pytest.param("rtsp://user:pw12@host/s?token=a@pw12", "rtsp://***", id="at-in-query"),
        pytest.param("rtsp://host/user=admin&password=p/w12", "rtsp://host/***", id="slash-in-password-in-path"),
        pytest.param("rtsp://host/token/pw12/s", "rtsp://host/***", id="token-as-next-part"),
        pytest.param("http://10.0.0.7:80user=x&pass=pw12", "http://***", id="no-slash-before-parameters"),
        pytest.param("https://keyence.local/cam", "https://keyence.local/cam", id="host-named-like-a-secret"),
        pytest.param("", "", id="empty"),
    ],
)
def test_address_is_shown_without_credentials(source: str, shown: str) -> None:
    """Host, port and plain path stay readable; user, password and query do not."""
    assert shown_address(source) == shown


def test_file_that_is_there_is_shown_whole(tmp_path: Path) -> None:
    """An ``@`` in the name of a recording hides nothing."""
    path = tmp_path / "a@b.mp4"
    path.touch()
    assert shown_address(str(path)) == str(path)


@given(st.text(st.characters(codec="utf-8"), min_size=4), st.sampled_from(["rtsp", "http"]))
def test_no_password_survives(password: str, scheme: str) -> None:
    """Whatever a password is made of, the shown address is the same."""
    assert shown_address(f"{scheme}://user:{password}@camera.local:554/s") == f"{scheme}://***@camera.local:554/s"

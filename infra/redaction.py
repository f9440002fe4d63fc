"""Keeping credentials out of everything that people read: logs, errors, topics, metrics.

Cameras are addressed by URLs that often carry a user and a password, and Redis by one that may. What was read as a
secret is remembered, so that it is hidden wherever it turns up, also in the words of a library.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

HIDDEN = "***"

# A password may itself hold '@' or '/': hide everything from '://' to the last '@' of the word. This can hide more than
# needed (a path with an '@' in it), never less.
_USER_INFO = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<info>[^\s'\"<>/@]*:[^\s'\"<>]*|[^\s'\"<>/]*)@(?P<rest>[^\s'\"<>]*)"
)
# In a query; and in a path, as `/user=admin_password=x` of some cameras, with names that are nothing else there.
_SECRET_PARAMETER = re.compile(
    r"(?P<name>(?:[?&;](?:password|passwd|pwd|pass|token|access_token|key|apikey|api_key|secret|auth|signature)"
    r"|(?:^|[/,_])(?:password|passwd|pwd|pass|token|apikey|secret))=)[^&;\s'\"<>]*",
    re.IGNORECASE,
)
# `sasl.password=…`, `"client_secret": "…"`, `Authorization: Bearer …`
_ASSIGNED = re.compile(
    r"(?P<name>(?:password|passwd|secret|access_token)(?:\s*=\s*[\"']?|[\"']\s*:\s*[\"']))(?!\*\*\*)[^\s,;&\"'<>})\]]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<name>\bbearer\s+)[A-Za-z0-9._~+/\-]{8,}=*", re.IGNORECASE)

MIN_REMEMBERED = 4
"""Secrets of fewer characters are not searched for in texts: they would blot out ordinary words."""

_remembered: frozenset[str] = frozenset()
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def remember(secret: str) -> None:
    """Hide this text from now on, wherever it appears. Thread-safe."""
    global _remembered, _pattern
    if len(secret) < MIN_REMEMBERED or secret in _remembered:
        return
    with _lock:
        _remembered = _remembered | {secret}
        # The longest first: one secret may begin with another.
        _pattern = re.compile("|".join(re.escape(one) for one in sorted(_remembered, key=len, reverse=True)))


def redact(text: str) -> str:
    """The text with user info of URLs, secret parameters and remembered secrets replaced by ``***``."""
    if _pattern is not None:
        text = _pattern.sub(HIDDEN, text)
    if "://" in text:
        text = _USER_INFO.sub(_without_user, text)
    text = _SECRET_PARAMETER.sub(rf"\g<name>{HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\g<name>{HIDDEN}", text)
    return _BEARER.sub(rf"\g<name>{HIDDEN}", text)


def _without_user(found: re.Match[str]) -> str:
    # The last '@' may be one of a password among the parameters: its rest is no host then.
    host = "" if _SECRET_PARAMETER.search(found["info"]) else f"@{found['rest']}"
    return f"{found['scheme']}{HIDDEN}{host}"


def hide_user(address: str) -> str:
    """An address, and nothing but that, with all up to its last ``@`` replaced by ``***``; also what follows, where the
    ``@`` may be one of a password among its parameters.

    It needs no ``scheme://``: people forget a part of that, and what precedes the ``@`` is a password all the same,
    unless the whole is a file or folder of this machine (or its part after a colon is, as in ``line:FOLDER``).
    """
    scheme, mark, rest = address.partition("://")
    if "@" not in rest and mark:
        return address
    if not mark:
        if "@" not in address or is_here(address):
            return address
        scheme, rest = "", address
    info, _, host = rest.rpartition("@")
    return f"{scheme}{mark}{HIDDEN}" + ("" if _SECRET_PARAMETER.search(info) else f"@{host}")


def is_here(address: str) -> bool:
    """Whether the whole is a file or folder of this machine, or its part after a colon is, as in ``line:FOLDER``."""
    return any(map(_exists, (address, address.partition(":")[2])))


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # too long for a name, or of the home of nobody
        return False

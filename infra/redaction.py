"""Keeping credentials out of everything that people read: logs, errors, topics, metrics.

Cameras are addressed by URLs that often carry a user and a password, and Redis by one that may.
"""

from __future__ import annotations

import re

HIDDEN = "***"

# A password may itself hold '@' or '/': hide everything from '://' to the last '@' of the word. This can hide more than
# needed (a path with an '@' in it), never less.
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?:[^\s'\"<>/@]*:[^\s'\"<>]*|[^\s'\"<>/]*)@")
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:password|passwd|pwd|pass|token|access_token|key|apikey|api_key|secret|auth|signature)=)[^&;\s'\"<>]*",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text with user info of URLs and secret URL parameters replaced by ``***``."""
    if "://" not in text:
        return text
    text = _USER_INFO.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _SECRET_PARAMETER.sub(rf"\g<name>{HIDDEN}", text)

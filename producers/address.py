"""Addresses of cameras as they may be shown: without user name, password or query."""

from __future__ import annotations

import re

from infra.redaction import hide_user

URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)$", re.DOTALL)
_SECRET_PART = re.compile(r"(user|login|pass|pwd|token|secret|auth|key|sig)", re.IGNORECASE)


def shown_address(source: str) -> str:
    """A source as it may appear in logs, errors and metrics.

    Everything up to the last ``@`` counts as user name and password: passwords with an unescaped ``/`` or ``@`` stay
    hidden too, at the price of hiding a path that holds an ``@``. The query goes as a whole (``?…``), and so does any
    part of the path that names a user, password or token, as some cameras want it. So does a mistyped address, one
    without ``scheme://``, unless it is a file that is there.
    """
    text = hide_user(source.strip())
    match = URL.match(text)
    if not match and text == source.strip():
        return source
    scheme, rest = (f"{match[1].lower()}://", match[2]) if match else ("", text)
    path, mark, _ = rest.partition("?")
    path, fragment, _ = path.partition("#")
    host, *parts = path.split("/")
    parts = ["***" if _SECRET_PART.search(part) else part for part in parts]
    return f"{scheme}{'/'.join([host, *parts])}{'?…' if mark else ''}{'#…' if fragment else ''}"

"""Addresses of cameras as they may be shown: without user name, password or query."""

from __future__ import annotations

import re

from infra.redaction import HIDDEN, hide_user, is_here

URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)$", re.DOTALL)
_SECRET_PART = re.compile(r"(user|login|pass|pwd|token|secret|auth|key|sig)", re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"{_SECRET_PART.pattern}[^/?#]*=", re.IGNORECASE)


def shown_address(source: str) -> str:
    """A source as it may appear in logs, errors and metrics.

    Everything up to the last ``@`` counts as user name and password: passwords with an unescaped ``/`` or ``@`` stay
    hidden too, at the price of hiding a path that holds an ``@``. The query goes as a whole (``?…``), and so does the
    path from the first part on that names a user, password or token, as some cameras want it. So does a mistyped
    address, one without ``scheme://``, unless it is a file that is there. Of what may be the name of one that is not,
    only what gives a user, password or token its value (``user=…``) goes, and a query with a value.
    """
    address = source.strip()
    text = hide_user(address)
    match = URL.match(text)
    plain = not match and text == address
    if plain and ("=" not in address or is_here(address)):
        return source
    scheme, rest = (f"{match[1].lower()}://", match[2]) if match else ("", text)
    path, mark, _ = rest.partition("?")
    path, fragment, _ = path.partition("#")
    host, *parts = path.split("/")
    if _SECRET_VALUE.search(host):
        host, parts = HIDDEN, []
    secret = _SECRET_VALUE if plain else _SECRET_PART
    first = next((n for n, part in enumerate(parts) if secret.search(part)), None)
    parts = parts if first is None else [*parts[:first], HIDDEN]
    return f"{scheme}{'/'.join([host, *parts])}{'?…' if mark else ''}{'#…' if fragment else ''}"

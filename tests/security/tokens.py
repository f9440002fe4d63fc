"""An identity provider as small as it can be: a token endpoint and the keys to check its tokens with."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT, SECRET, SCOPE = "w-oauth", "oauth-Kj7-vale", "kafka"


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class TokenServer:
    """Gives signed tokens (RS256) to the one client that it knows, over HTTP on this machine."""

    audience = "kafka-of-the-plant"

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.given: list[str] = []
        """Scopes that tokens were asked for with."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, server.keys())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                basic = f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"
                if self.headers.get("Authorization") != basic:
                    self._answer(401, {"error": "invalid_client"})
                    return
                server.given += urllib.parse.parse_qs(body).get("scope", [""])
                self._answer(200, {"access_token": server.token(), "token_type": "Bearer", "expires_in": 300})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def token_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    @property
    def keys_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/keys"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="tokens", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keys(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        n = numbers.n.to_bytes(256, "big")
        e = numbers.e.to_bytes(3, "big")
        return {"keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": _text(n), "e": _text(e)}]}

    def token(self) -> str:
        now = int(time.time())
        claims = {"sub": CLIENT, "aud": self.audience, "scope": SCOPE, "iat": now, "exp": now + 300, "iss": "tests"}
        signed = ".".join(
            _text(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims)
        )
        return f"{signed}.{_text(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

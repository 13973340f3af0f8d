"""Both endpoints of Bandwidth on one scripted server: what gives tokens, and what takes messages."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from receiver.bandwidth.client import BandwidthAccount, BandwidthGateway
from tests.support.scripted_server import Peer, ScriptedServer, answer

CLIENT_ID, CLIENT_SECRET = "client-of-tests", "s3cret-of-client"
BODY_202 = b'{"id": "14762070468292kw2fuqty55yp2b2", "segmentCount": 2}'
ACCEPTED = answer("202 Accepted", BODY_202)
UNAUTHORIZED = answer("401 Unauthorized", b'{"type": "unauthorized", "description": "Authentication Failed"}')

Talk = Callable[[Peer], object]


class Clock:
    """Monotonic seconds that only pass when a test lets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Endpoints:
    """Gives the tokens ``token-1``, ``token-2`` ..., and accepts messages that come with the last of them.

    A test appends to ``tokens`` or ``answers`` what is to come instead: bytes, or a function that talks to the peer.
    """

    def __init__(self) -> None:
        self.tokens: list[bytes | Talk] = []
        self.answers: list[bytes | Talk] = []
        self.given = 0
        self.token_requests: list[bytes] = []
        self.requests: list[str] = []
        """The token of each request that is about messages; what stands in Authorization, if that is no token."""
        self.expires_in: Any = 3600
        self._lock = threading.Lock()
        self.server = ScriptedServer(self._talk)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def account(self, **changes: Any) -> BandwidthAccount:
        known: dict[str, Any] = {
            "api_url": f"{self.url}/api/v2",
            "account_id": "5500001",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": f"{self.url}/token",
            "connect_timeout": 5.0,
            "read_timeout": 5.0,
        }
        return BandwidthAccount(**known | changes)

    def gateway(self, clock: Callable[[], float] = time.monotonic, **changes: Any) -> BandwidthGateway:
        return BandwidthGateway(self.account(**changes), clock=clock)

    def revoke(self) -> None:
        """The token that was given last is good no more."""
        with self._lock:
            self.given += 1

    def token(self, **changes: Any) -> bytes:
        """The next token."""
        with self._lock:
            self.given += 1
            said = {"access_token": f"token-{self.given}", "token_type": "Bearer", "expires_in": self.expires_in}
        body = {name: value for name, value in (said | changes).items() if value is not ...}
        return answer("200 OK", json.dumps(body).encode())

    def _talk(self, peer: Peer) -> None:
        while request := peer.read_request():
            with self._lock:
                what = self._instead(request)
            if callable(what):
                what(peer)
            else:
                peer.send(what or self._usual(request))

    def _instead(self, request: bytes) -> bytes | Talk | None:
        """Notes a request; what the test wants to come for it."""
        if is_for_token(request):
            self.token_requests.append(request)
            return self.tokens.pop(0) if self.tokens else None
        self.requests.append(authorization(request).removeprefix("Bearer "))
        return self.answers.pop(0) if self.answers else None

    def _usual(self, request: bytes) -> bytes:
        if is_for_token(request):
            return self.token()
        is_good = authorization(request) == f"Bearer token-{self.given}"
        return ACCEPTED if is_good else UNAUTHORIZED


def is_for_token(request: bytes) -> bool:
    return request.startswith(b"POST /token ")


def authorization(request: bytes) -> str:
    """What a request has in Authorization."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)["Authorization"]


def client_basic() -> str:
    return "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()

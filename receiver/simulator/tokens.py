"""Access tokens: who may ask for one, and which of those that were issued are still good.

Bandwidth says nothing about what a token looks like; to a client it is opaque.
"""

import hmac
import secrets
import threading
from collections.abc import Callable
from time import monotonic

TOKEN_PATH = "/api/v1/oauth2/token"  # noqa: S105 - a path


class Tokens:
    """The client of the account, and the tokens that it was issued."""

    def __init__(
        self,
        *,
        client_id: str | None,
        client_secret: str | None,
        seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.seconds = seconds
        """How long a token is good."""
        self._client_id, self._client_secret = client_id, client_secret
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[str, float] = {}
        """When each token ends; the oldest token first."""

    def knows_client(self, *, client_id: str, client_secret: str) -> bool:
        """Whether these are the client's own id and secret."""
        pairs = ((client_id, self._client_id), (client_secret, self._client_secret))
        return all(is_expected(given, expected) for given, expected in pairs)

    def issue(self) -> str:
        """Returns a new token; those issued before stay as they are."""
        token = secrets.token_urlsafe(48)
        with self._lock:
            self._forget_ended()
            self._ends[token] = self._clock() + self.seconds
        return token

    def is_good(self, token: str) -> bool:
        """Whether the token was issued, and has neither ended nor been revoked."""
        with self._lock:
            ends = self._ends.get(token)
            return ends is not None and self._clock() < ends

    def revoke(self) -> int:
        """Revokes every token; returns how many were still good."""
        with self._lock:
            self._forget_ended()
            revoked = len(self._ends)
            self._ends.clear()
        return revoked

    def _forget_ended(self) -> None:
        now = self._clock()
        for token in [token for token, ends in self._ends.items() if ends <= now]:
            del self._ends[token]


def is_expected(given: str, expected: str | None) -> bool:
    """Whether a credential is the expected one; None expects anything but an empty string."""
    if expected is None:
        return given != ""
    return hmac.compare_digest(given.encode(), expected.encode())

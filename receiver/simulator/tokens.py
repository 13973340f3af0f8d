"""Access tokens: which client may request one, and which of those that were issued are still valid.

Bandwidth does not say what a token looks like; to a client it is opaque.
"""

import hmac
import secrets
import threading
from collections.abc import Callable
from time import monotonic

TOKEN_PATH = "/api/v1/oauth2/token"  # noqa: S105 - a path


class TokenIssuer:
    """Issues tokens to the account's client and revokes them; safe for use from several threads."""

    def __init__(
        self,
        *,
        client_id: str | None,
        client_secret: str | None,
        lifetime: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.lifetime = lifetime
        """How many seconds a token is valid."""
        self._client_id, self._client_secret = client_id, client_secret
        self._clock = clock
        self._lock = threading.Lock()
        self._expiries: dict[str, float] = {}
        """When each token expires; the oldest token first."""

    def knows_client(self, *, client_id: str, client_secret: str) -> bool:
        """Whether these are the client's own id and secret."""
        pairs = ((client_id, self._client_id), (client_secret, self._client_secret))
        return all(is_expected(given, expected) for given, expected in pairs)

    def issue(self) -> str:
        """Returns a new token; earlier ones stay valid."""
        token = secrets.token_urlsafe(48)
        with self._lock:
            self._drop_expired()
            self._expiries[token] = self._clock() + self.lifetime
        return token

    def is_valid(self, token: str) -> bool:
        """Whether the token was issued, and has neither expired nor been revoked."""
        with self._lock:
            expiry = self._expiries.get(token)
            return expiry is not None and self._clock() < expiry

    def revoke(self) -> int:
        """Revokes every token; returns how many were still valid."""
        with self._lock:
            self._drop_expired()
            revoked = len(self._expiries)
            self._expiries.clear()
        return revoked

    def _drop_expired(self) -> None:
        now = self._clock()
        for token in [token for token, expiry in self._expiries.items() if expiry <= now]:
            del self._expiries[token]


def is_expected(given: str, expected: str | None) -> bool:
    """Whether a credential is the expected one, compared in constant time; None expects anything but ""."""
    if expected is None:
        return given != ""
    return hmac.compare_digest(given.encode(), expected.encode())

"""The simulator as a whole: an account with a server in front of it."""

import threading
from collections import Counter
from contextlib import suppress
from typing import Self

from receiver.simulator.account import SimulatedAccount
from receiver.simulator.api import create_app
from receiver.simulator.callbacks import AcceptedMessage
from receiver.simulator.server import TOKEN_PATH, SimulatorServer
from receiver.simulator.switches import Action, Point, SimulatorOptions, Switches, check_url


class Simulator:
    """A Bandwidth that runs on this machine, between ``start`` and ``stop`` or within ``with``.

    It cannot be started again. All of its threads are daemons, and none outlives ``stop``.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self._options = options or SimulatorOptions()
        self._account = SimulatedAccount(self._options)
        self._server: SimulatorServer | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Listens from now on; raises OSError if the port is taken."""
        if self._server is None:
            self._server = SimulatorServer(
                self._options.host, self._options.port, create_app(self._account), self._account.switchboard
            )
            self._account.start()
            self._server.start()

    def stop(self) -> None:
        """Drops every connection and every undelivered callback."""
        if self._server is not None and not self._stopped.is_set():
            self._account.stop()
            self._server.stop()
            self._account.close()
        self._stopped.set()

    def serve_forever(self) -> None:
        """Runs until it is interrupted or, from another thread, stopped."""
        with self, suppress(KeyboardInterrupt):
            self._stopped.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL that a client sets as Bandwidth's base URL."""
        return f"{self.root}/api/v2"

    @property
    def token_url(self) -> str:
        """The URL at which a client requests access tokens."""
        return f"{self.root}{TOKEN_PATH}"

    @property
    def root(self) -> str:
        """The URL at which the simulator's own paths begin, such as ``/simulator/switches``."""
        if self._server is None:
            raise RuntimeError("the simulator has not been started")
        return f"http://{self._options.host}:{self._server.port}"

    @property
    def callback_url(self) -> str | None:
        """The URL to which events are posted; it may be changed, for a receiver that starts after the simulator."""
        return self._account.delivery.url

    @callback_url.setter
    def callback_url(self, url: str | None) -> None:
        if url is not None:
            check_url(url)
        self._account.delivery.url = url

    @property
    def switches(self) -> Switches:
        """What goes wrong from now on; setting it releases every request that is held."""
        return self._account.switchboard.switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        self._account.switchboard.switches = switches

    @property
    def held(self) -> tuple[Point, ...]:
        """The points at which requests are held by an accident, the longest held first."""
        return self._account.switchboard.held

    def release(self, ending: Action | None = None) -> int:
        """Lets all held requests go on, or ends their connections; returns how many there were."""
        return self._account.switchboard.release(ending)

    def revoke_tokens(self) -> int:
        """Revokes every token that was issued; returns how many were still valid."""
        return self._account.tokens.revoke()

    @property
    def token_responses(self) -> Counter[int]:
        """The number of responses to requests for a token so far, by status."""
        return self._account.token_responses

    @property
    def messages(self) -> tuple[AcceptedMessage, ...]:
        """The accepted messages, oldest first."""
        return tuple(self._account.messages)

    def wait_until_idle(self, timeout: float | None = None) -> bool:
        """Waits until every callback is acknowledged or given up; False if that took more than ``timeout`` seconds."""
        return self._account.delivery.wait_until_idle(timeout)

"""Servers that follow a script, for the tests of what calls Bandwidth."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bandwidth.wire import CERTIFICATE, KEY, Script, Serve, Wire


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers; ``tls=True`` gives one that speaks TLS with a certificate nobody trusts by default."""
    (tmp_path / "server.pem").write_text(KEY + CERTIFICATE)
    wires: list[Wire] = []

    def start(script: Script, *, tls: bool = False, accepting: bool = True) -> Wire:
        wires.append(Wire(script, tls=tmp_path / "server.pem" if tls else None, accepting=accepting))
        return wires[-1]

    yield start
    for wire in wires:
        wire.close()

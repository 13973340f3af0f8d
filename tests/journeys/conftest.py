"""One loop of real processes for each engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.databases import ENGINES
from tests.support.loop import Loop, Loops, looping


@pytest.fixture(scope="package")
def loops() -> Iterator[Loops]:
    with ExitStack() as stack:
        yield Loops(stack, {})


@pytest.fixture(params=ENGINES)
def loop(request: pytest.FixtureRequest, loops: Loops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The shared loop on each engine, with every switch of the simulator at its default."""
    engine = request.param
    if engine not in loops.running:
        databases = request.getfixturevalue(f"{engine}_databases")
        folder = tmp_path_factory.mktemp(engine)
        url = loops.stack.enter_context(databases.new(folder, request.getfixturevalue(f"{engine}_template")))
        loops.running[engine] = loops.stack.enter_context(looping(folder, url))
    running = loops.running[engine]
    running.simulator.switch()
    logged = len(running.server.output)
    yield running
    output = running.server.output[logged:]
    sys.stdout.write(output)  # pytest shows it if the test failed
    assert "Traceback" not in output
    tags = [each["request"]["tag"] for each in running.simulator.messages()]
    assert len(set(tags)) == len(tags), "a message was sent twice"

"""Two hosts and a worker behind nginx, on one PostgreSQL behind PgBouncer, share all that they store."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.soak.torture.checking import Findings
from tests.soak.torture.servers import Server
from tests.support.balancer import balancing
from tests.support.pgbouncer import pooling
from tests.support.processes import Child, environment, run, simulating, wait_for
from tests.support.traffic import Traffic

POOL = 6
"""Sessions of PostgreSQL that PgBouncer opens, for five processes that would open nine or ten each."""


@pytest.mark.parametrize("callbacks", [15, pytest.param(100, marks=pytest.mark.soak)])
def test_hosts_that_stop_and_start_while_traffic_goes_on_lose_nothing_and_double_nothing(
    tmp_path: Path, postgres_url: str, callbacks: int
) -> None:
    """So many callbacks are stored between any two steps."""
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(tmp_path))
        pooled = stack.enter_context(pooling(postgres_url, default_pool_size=POOL))
        settings = environment(pooled, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=5.0)
        hosts = [stack.enter_context(Server(tmp_path, settings)) for _ in range(2)]
        worker = stack.enter_context(Child("worker", "--threads", "4", environment=settings, folder=tmp_path))
        balancer = stack.enter_context(balancing(tmp_path, [each.port for each in hosts]))
        with Traffic(postgres_url, [balancer], seed=20_261_126, seconds=10) as traffic:
            for host in hosts:
                traffic.flow(callbacks)
                host.children[-1].end(signal.SIGTERM)
                traffic.flow(callbacks)
                host.start()
                traffic.flow(callbacks)
        wait_for(lambda: not hosts[0].api.get("/messages", sendStatus="queued")["messages"], "the queue to be sent")

        assert traffic.findings() == Findings()
        assert max(Counter(each["tag"] for each in simulator.recorded()).values()) == 1
        assert {each["sendStatus"] for each in messages(hosts[0])} == {"accepted"}
        assert messages(hosts[0]) == messages(hosts[1])
        logs = [worker.output, *(child.output for host in hosts for child in host.children)]
        assert [line for log in logs for line in log.splitlines() if '"level":"error"' in line] == []
    assert run("recompute", "--check", environment=environment(postgres_url), folder=tmp_path).returncode == 0


def messages(host: Server) -> list[Any]:
    """The newest messages, as that host reports them."""
    found: list[Any] = host.api.get("/messages", limit="200")["messages"]
    return found

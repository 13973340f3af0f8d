"""A real Prometheus with config/prometheus.yml, beside the service and a worker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deployment.test_monitoring import EXPRESSIONS
from tests.support import pages
from tests.support.builders import ALICE, BOB, READ_ONLY_KEY
from tests.support.debian import program
from tests.support.loop import looping
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, wait_for

EMPTY = {each for each in EXPRESSIONS if each.startswith("sum(increase(receiver_extraneous_events_total[1d])) /")}
"""Expressions without a value while nothing has failed."""


@contextmanager
def prometheus(folder: Path, *, server: str, worker: str) -> Iterator[str]:
    """Runs Prometheus, which scrapes every second; yields its URL."""
    folder.mkdir()
    config = (pages.ROOT / "config" / "prometheus.yml").read_text()
    for written, real in (("127.0.0.1:8080", server), ("127.0.0.1:9100", worker), ("interval: 30s", "interval: 1s")):
        assert written in config
        config = config.replace(written, real)
    (folder / "prometheus.yml").write_text(config)
    (folder / "alerts.yml").write_text((pages.ROOT / "config" / "alerts.yml").read_text())
    (folder / "receiver.key").write_text(READ_ONLY_KEY)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}", *options]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://{address}"
        finally:
            running.terminate()
            running.wait(PATIENCE)


def ask(url: str, query: str) -> list[Any]:
    """The result of the query; empty while Prometheus is not up yet."""
    try:
        answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=PATIENCE)
    except requests.ConnectionError:
        return []
    found: list[Any] = answer.json()["data"]["result"] if answer.ok else []
    return found


@pytest.mark.outside
def test_prometheus_reads_all_figures_and_every_panel_of_the_dashboard_has_something_to_show(
    tmp_path: Path, sqlite_url: str
) -> None:
    port = free_port()
    with (
        looping(tmp_path, sqlite_url, bandwidth_rate=1000.0) as running,
        running.workers(1, "--metrics", str(port)),
        prometheus(
            tmp_path / "prometheus", server=running.api.url.removeprefix("http://"), worker=f"127.0.0.1:{port}"
        ) as url,
    ):
        wait_for(lambda: len(ask(url, "up == 1")) == 2, "both targets to be up")
        running.queue(20, ALICE, BOB)
        running.wait_for_states(accepted=20)
        for expression in set(EXPRESSIONS) - EMPTY:
            query = expression.replace("$__rate_interval", "1m")
            wait_for(lambda: ask(url, query), query)  # noqa: B023
        # The worker counted what it sent, the service what came of it.
        wait_for(lambda: ask(url, 'sum(receiver_sends_total{job="receiver-worker",result="accepted"}) == 20'), "sends")
        wait_for(lambda: ask(url, 'sum(receiver_events_total{type="message-delivered"}) == 40'), "events")
        # Between two looks the 401 of a challenge may be counted and its 200 not yet; that is over with the next.
        wait_for(lambda: len(ask(url, "up == 1")) == 2 and not ask(url, "ALERTS"), "every alert to be silent")

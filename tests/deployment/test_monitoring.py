"""The files that Prometheus and Grafana read: rules fire when they should, and every metric that they name exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver.reports.overview import GAUGES
from tests.support import pages
from tests.support.builders import ALICE, make_element
from tests.support.debian import program
from tests.support.service import Service

CONFIG = pages.ROOT / "config"
ALERTS = (CONFIG / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((CONFIG / "grafana-dashboard.json").read_text(encoding="utf-8"))
TESTS = ("alerts_test.yml", "alerts_weekly_test.yml")
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def promtool(*arguments: str, given: str | None = None) -> str:
    """The output of promtool, which must find nothing wrong."""
    ended = subprocess.run(
        [program("promtool"), *arguments], input=given, cwd=CONFIG, text=True, capture_output=True, timeout=300
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def names_in(text: str) -> set[str]:
    """The metrics that the expression names."""
    return set(re.findall(r"\breceiver_[a-z_]+", text))


def exposed(service: Service) -> str:
    """The exposition of a service in which every metric has a value."""
    answer = service.call("GET", "/metrics")
    assert answer.status_code == 200
    return answer.text


@pytest.fixture
def text(sqlite_url: str) -> str:
    with Service(sqlite_url, bandwidth_rate=10.0) as service:
        service.callback(make_element("delivered", ALICE))
        return exposed(service)


def test_promtool_finds_nothing_wrong_with_the_configuration(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(CONFIG / name, tmp_path)
    (tmp_path / "receiver.key").touch()
    said = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert f"{ALERTS.count('- alert:')} rules found" in said


@pytest.mark.outside
@pytest.mark.parametrize("name", TESTS)
def test_the_alerts_fire_when_they_should_and_are_silent_when_they_should(name: str) -> None:
    promtool("test", "rules", name)


def test_promtool_finds_nothing_wrong_with_the_metrics(text: str) -> None:
    assert promtool("check", "metrics", given=text) == ""


def test_every_alert_has_a_test_in_which_it_fires_and_one_that_is_silent() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    tests = [(CONFIG / name).read_text(encoding="utf-8") for name in TESTS]
    fired = {name for each in tests for name in re.findall(r'alertname="(\w+)"', each)}
    assert fired == set(alerts)
    assert all("exp_samples: []" in each for each in tests)


def test_every_alert_says_what_is_wrong_what_to_do_and_how_urgent_it_is() -> None:
    rules = ALERTS.split("- alert: ")[1:]
    for wanted in ("summary:", "description:", "labels: {severity: "):
        assert [each.split("\n")[0] for each in rules if wanted not in each] == []
    sections = re.findall(r'see "([^"]+)" in ([\w./]*\w)', re.sub(r"\s+", " ", ALERTS), re.IGNORECASE)
    assert len(sections) == ALERTS.count(".md")
    assert [(each, page) for each, page in sections if each not in pages.read(page).headings()] == []


def test_an_alert_tells_of_every_figure_that_the_others_look_at_when_it_is_missing() -> None:
    missing = set(re.findall(r"absent\((receiver_\w+)\)", ALERTS))
    assert missing == names_in(re.sub(r"absent\(\w+\)|\"receiver_\w+\"", "", ALERTS))


@pytest.mark.parametrize(
    "source", [ALERTS, *EXPRESSIONS], ids=lambda each: sorted(names_in(each))[0] if names_in(each) else "up"
)
def test_every_metric_that_is_looked_at_is_exposed(text: str, source: str) -> None:
    samples = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert names_in(source) - samples == set()


def test_every_exposed_metric_says_what_it_means_and_is_on_the_dashboard(text: str) -> None:
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert all(each.documentation for each in families.values())
    assert set(GAUGES) <= set(families)
    shown = names_in(" ".join(EXPRESSIONS))
    assert {name for name in families if not any(each.startswith(name) for each in shown)} == set()


def test_every_panel_has_a_unit_a_place_of_its_own_and_a_description() -> None:
    places = [tuple(panel["gridPos"][each] for each in "xy") for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_the_expressions_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{place}", "expr": each.replace("$__rate_interval", "5m")}
        for place, each in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", str(path))


def test_the_table_of_metrics_is_complete(text: str) -> None:
    families = {
        each.name + ("_total" if each.type == "counter" else "") for each in text_string_to_metric_families(text)
    }
    assert set(pages.OPERATIONS.first_column("Metric")) == families

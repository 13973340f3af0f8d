"""GET /queue and GET /metrics: how sending is going."""

import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver.bandwidth.client import BandwidthAccount
from receiver.core import times
from receiver.core.messages import Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.messages import credentials
from receiver.messages.sender import tidy
from receiver.reports.overview import GAUGES
from tests.support.builders import ALICE, BOB, CAROL, READ_ONLY_KEY, make_element, make_settings
from tests.support.queue_steps import claim
from tests.support.service import LATER, OUTAGES, BusyGateway, Service, execute, is_problem, outage

IDLE = {"rate": None, "senderRate": None, "lastMinute": 0.0, "pausedUntil": None, "credentialsRefusedSince": None}
LONG_AGO = "2020-01-01 00:00:00.000000"


def report(service: Service) -> Any:
    return service.get("/queue", key=READ_ONLY_KEY)


def gauges(service: Service) -> dict[str, float]:
    """What is read from the database, by name; messages by their send status."""
    answer = service.call("GET", "/metrics", key=READ_ONLY_KEY)
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    families = [each for each in text_string_to_metric_families(answer.text) if each.name in GAUGES]
    return {sample.labels.get("send_status", sample.name): sample.value for each in families for sample in each.samples}


def test_where_nothing_was_ever_sent_there_is_nothing_to_tell(service: Service) -> None:
    assert report(service) == {
        "queued": 0,
        "oldestQueuedAt": None,
        "oldestQueuedSeconds": None,
        "unknown": 0,
        "pace": IDLE,
    }
    told = gauges(service)
    assert told.pop("receiver_database_up") == 1
    names = set(GAUGES) - {"receiver_database_up", "receiver_messages", "receiver_rate_units_per_second"}
    assert told == dict.fromkeys([*names, "queued", "submitting", "unknown"], 0)


@pytest.mark.parametrize("path", ["/queue", "/metrics"])
def test_whoever_may_read_may_ask_and_nobody_else(service: Service, path: str) -> None:
    assert service.call("GET", path).status_code == 200
    assert service.call("GET", path, key=READ_ONLY_KEY).status_code == 200
    assert is_problem(service.call("GET", path, key=None), 401)
    assert is_problem(service.call("POST", path), 405)


@OUTAGES
def test_without_a_database_there_is_no_number_of_it(
    database_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    with Service(database_url) as service, outage(database_url, kind, request):
        assert is_problem(service.call("GET", "/queue"), 503)
        assert gauges(service) == {"receiver_database_up": 0}
        assert "receiver_callbacks_total" in service.call("GET", "/metrics").text


def test_what_waits_is_counted_and_the_oldest_of_it_named(service: Service) -> None:
    queued = [service.send(headers=LATER, priority=priority).get_json() for priority in ("default", "high", "default")]
    service.send()

    told = report(service)

    assert (told["queued"], told["oldestQueuedAt"]) == (3, queued[0]["createdAt"])
    age = (times.now() - times.parse(queued[0]["createdAt"])).total_seconds()  # type: ignore[operator]
    assert 0 <= told["oldestQueuedSeconds"] <= age
    assert told["oldestQueuedSeconds"] <= gauges(service)["receiver_oldest_queued_seconds"] < age + 60
    assert gauges(service)["queued"] == 3
    service.call("DELETE", f"/messages/{queued[0]['tag']}")
    told = report(service)
    assert (told["queued"], told["oldestQueuedAt"]) == (2, queued[1]["createdAt"])


def test_unknown_is_counted_from_its_deadline_on_and_until_an_event_tells(database_url: str) -> None:
    gateway = BusyGateway(Unknown(), late_in=database_url)
    seen: list[int] = []
    with Service(database_url, gateway) as service:
        gateway.meanwhile = lambda tag: seen.append(report(service)["unknown"])  # it has lapsed, and is not yet written
        tags = [json.loads(service.send().text)["tag"] for _ in range(2)]
        tidy(service.database)
        assert (seen, report(service)["unknown"]) == ([1, 2], 2)
        assert gauges(service)["unknown"] == 2

        service.callback(make_element("delivered", ALICE, tag=tags[0]))

        assert (report(service)["unknown"], gauges(service)["unknown"]) == (1, 1)


def test_the_last_minute_is_what_went_out_in_recipients_times_segments(service: Service) -> None:
    service.send(to=[ALICE], text="x" * 161)
    service.send(to=[ALICE, BOB, CAROL], text="x" * 161)
    service.send(headers=LATER, to=[ALICE, BOB])
    assert report(service)["pace"]["lastMinute"] == pytest.approx((2 + 3) / 60)
    assert gauges(service)["receiver_pace_units_per_second"] == pytest.approx(5 / 60)

    earlier = (times.now() - timedelta(seconds=61)).strftime("%Y-%m-%d %H:%M:%S.%f")
    zone = "" if service.database_url.startswith("sqlite") else "+00"
    execute(service.database_url, f"UPDATE messages SET submitted_at = '{earlier}{zone}' WHERE units = 2")

    assert report(service)["pace"]["lastMinute"] == pytest.approx(3 / 60)


def test_a_pause_is_shown_until_it_is_over(service: Service) -> None:
    service.gateway.answer = Refused(because=RefusedBecause.RATE_LIMITED, status=429, retry_after=120)
    asked = times.now()
    service.send()

    until = times.parse(report(service)["pace"]["pausedUntil"])

    assert until is not None
    assert timedelta(seconds=120) <= until - asked < timedelta(seconds=180)
    assert 0 < gauges(service)["receiver_pause_seconds"] <= 120
    execute(service.database_url, f"UPDATE lanes SET paused_until = '{LONG_AGO}'")
    assert report(service)["pace"]["pausedUntil"] is None
    assert gauges(service)["receiver_pause_seconds"] == 0


def test_refused_credentials_are_shown_for_as_long_as_workers_pause(service: Service) -> None:
    service.send(headers=LATER)
    [claimed] = claim(service.database)
    refused = Refused(because=RefusedBecause.BANDWIDTH, status=401, type="unauthorized")
    fingerprint = BandwidthAccount.of(make_settings("")).fingerprint
    asked = times.now()
    service.database.write(lambda session: credentials.deny(session, fingerprint, claimed, refused))

    since = times.parse(report(service)["pace"]["credentialsRefusedSince"])

    assert since is not None
    assert timedelta(seconds=-1) < since - asked < timedelta(seconds=60)
    execute(service.database_url, f"UPDATE credential_pauses SET paused_at = '{LONG_AGO}'")
    assert gauges(service)["receiver_credentials_refused_seconds"] > 1_000_000
    service.database.write(lambda session: credentials.clear(session, fingerprint))
    assert report(service)["pace"]["credentialsRefusedSince"] is None
    assert gauges(service)["receiver_credentials_refused_seconds"] == 0


def test_the_rates_of_the_settings_are_shown(database_url: str) -> None:
    with Service(database_url, bandwidth_rate=12.5, bandwidth_sender_rate=1.0) as service:
        assert report(service)["pace"] == IDLE | {"rate": 12.5, "senderRate": 1.0}
        assert gauges(service)["receiver_rate_units_per_second"] == 12.5

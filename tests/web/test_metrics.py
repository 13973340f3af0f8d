"""What is counted of callbacks, through the Flask view, in one process."""

from collections.abc import Callable
from typing import Any

import pytest

from receiver import VERSION, metrics
from tests.support.builders import ALICE, BOB, make_element
from tests.support.prometheus import increase
from tests.support.service import OUTAGES, Service, outage, sent


def counting(service: Service, work: Callable[[], Any]) -> dict[tuple[str, ...], float]:
    return increase(lambda: service.call("GET", "/metrics").text, work)


def test_every_answer_to_a_callback_is_counted(service: Service) -> None:
    def work() -> None:
        assert service.post_callback(b"", auth=None).status_code == 401
        assert service.post_callback(b"{").status_code == 400
        assert service.callback().status_code == 200
        assert service.call("GET", "/callbacks/bandwidth").status_code == 405

    found = counting(service, work)

    assert {series: value for series, value in found.items() if series[0] == "callbacks_total"} == {
        ("callbacks_total", "200"): 1,
        ("callbacks_total", "400"): 1,
        ("callbacks_total", "401"): 1,
    }


def test_a_callback_too_long_is_counted(sqlite_url: str) -> None:
    with Service(sqlite_url, max_body_bytes=10) as service:
        assert counting(service, lambda: service.post_callback(b" " * 11)) == {("callbacks_total", "413"): 1}


@OUTAGES
def test_a_callback_that_is_not_stored_is_counted_and_nothing_of_it(
    database_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    with Service(database_url) as service, outage(database_url, kind, request):
        found = counting(service, lambda: service.callback(make_element()))
    assert found == {("callbacks_total", "503"): 1}


def test_the_elements_of_a_callback_are_counted_by_what_became_of_them(service: Service, database_url: str) -> None:
    tag = sent(service, ALICE, BOB)
    elements = [
        make_element("failed", ALICE, tag=tag, errorCode=4404),
        make_element("delivered", ALICE, tag=tag),
        make_element("delivered", BOB, tag=tag),
        make_element("delivered", BOB, tag=tag),
        make_element("teleported", BOB, tag=tag),
        make_element("rejected-forbidden-country", ALICE, tag=tag),  # the one with a code wins
        make_element("delivered", BOB, message_id="foreign"),
        make_element("received", None, message_id="inbound"),
        7,
    ]

    found = counting(service, lambda: service.callback(*elements))

    # On PostgreSQL what is plain is stored first, and the foreign event and the number by a second transaction.
    transactions = 2 if database_url.startswith("postgresql") else 1
    assert found == {
        ("callbacks_total", "200"): 1,
        ("commit_elements_count",): transactions,
        ("commit_seconds_count",): transactions,
        ("events_total", "applied", "message-delivered"): 1,
        ("events_total", "applied", "message-failed"): 1,
        ("events_total", "extraneous", "message-delivered"): 1,
        ("events_total", "inbound", "message-received"): 1,
        ("events_total", "superseded", "message-rejected"): 1,
        ("events_total", "unlinked", "message-delivered"): 1,
        ("events_total", "unrecognized", "other"): 1,
        ("extraneous_events_total",): 1,
        ("duplicate_events_total",): 1,
        ("unreadable_elements_total",): 1,
        ("event_lag_seconds_count",): 7,
        ("outcome_lag_seconds_count",): 2,
    }


def test_types_without_end_make_no_series_without_end(service: Service) -> None:
    elements = [make_element(f"of-tomorrow-{number}", message_id=f"id-{number}") for number in range(20)]
    found = counting(service, lambda: service.callback(*elements))
    assert [series for series in found if series[0] == "events_total"] == [("events_total", "unlinked", "other")]


def test_every_series_that_can_be_foreseen_is_there_from_the_start(sqlite_service: Service) -> None:
    """Of one that begins with its first increase Prometheus overlooks that one."""

    def lines() -> set[str]:
        text = sqlite_service.call("GET", "/metrics").text
        return {line.rpartition(" ")[0] for line in text.splitlines()}

    before = lines()
    test_the_elements_of_a_callback_are_counted_by_what_became_of_them(sqlite_service, "sqlite:")
    sqlite_service.callback(make_element("read", ALICE, message_id="another"))
    assert lines() == before


def test_many_observations_at_once_are_what_they_are_one_by_one() -> None:
    one, all_at_once = (metrics.Meters() for _ in range(2))
    amounts = [0.0, 0.5, 0.50001, 7199, 7200, 86400, 86401, 10**7, 0.5]
    for amount in amounts:
        one.event_lag.observe(amount)
    all_at_once.event_lag.observe_all(amounts)
    all_at_once.event_lag.observe_all([])
    first, second = ([each.samples for each in meters.event_lag.collect()] for meters in (one, all_at_once))
    assert first == second


@OUTAGES
def test_the_version_is_reported_with_a_database_and_without(
    database_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    line = f'receiver_build_info{{version="{VERSION}"}} 1.0'
    with Service(database_url) as service:
        assert line in service.call("GET", "/metrics").text.splitlines()
        with outage(database_url, kind, request):
            assert line in service.call("GET", "/metrics").text.splitlines()

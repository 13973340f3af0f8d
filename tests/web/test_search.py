"""GET /messages: every filter, and every page."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause
from tests.support.builders import ALICE, BOB, CAROL, make_element
from tests.support.service import Service, is_problem, wrong_fields


@pytest.fixture
def searched(service: Service) -> tuple[Service, dict[str, str]]:
    """Five messages, oldest first, each unlike the others; and their tags by name."""
    refusal = Refused(because=RefusedBecause.BANDWIDTH, status=403)
    answers: dict[str, tuple[Any, dict[str, Any]]] = {
        "delivered": (Accepted(message_id="id-1"), {"to": [ALICE, BOB], "reference": "lunch"}),
        "failed": (Accepted(message_id="id-2"), {"to": [BOB], "reference": "lunch", "from": "ACME"}),
        "open": (Accepted(), {"to": [ALICE, CAROL], "reference": "a&b=c d+e%", "from": "2020"}),
        "refused": (refusal, {"to": [CAROL]}),
        "unknown": (Unknown(), {"to": [CAROL], "from": "+442071838750"}),
    }
    tags = {}
    for name, (answer, fields) in answers.items():
        service.gateway.answer = answer
        service.send(**fields)
        tags[name] = service.gateway.sent[-1][1]
    service.callback(*(make_element("delivered", to, message_id="id-1") for to in (ALICE, BOB)))
    service.callback(make_element("failed", BOB, message_id="id-2", errorCode=4404))
    service.callback(make_element("sent", ALICE, message_id="id-3", tag=tags["open"]))
    service.callback(make_element("sent", ALICE, message_id="id-4", tag=tags["open"]))
    return service, tags


def found(service: Service, query: str) -> list[str]:
    """The tags of a page that must be the only one."""
    answer = service.get(f"/messages?{query}")
    assert list(answer) == ["messages", "nextCursor"]
    assert answer["nextCursor"] is None
    return [message["tag"] for message in answer["messages"]]


def test_every_filter_finds_its_messages_newest_first(searched: tuple[Service, dict[str, str]]) -> None:
    service, tags = searched
    table = {
        "": ["unknown", "refused", "open", "failed", "delivered"],
        "reference=lunch": ["failed", "delivered"],
        "reference=Lunch": [],
        "reference=" + quote("a&b=c d+e%", safe=""): ["open"],
        "messageId=id-1": ["delivered"],
        "messageId=id-3": ["open"],
        "messageId=id-4": ["open"],
        "messageId=id": [],
        "to=%2B19195550102": ["failed", "delivered"],
        "to=+19195550102": ["failed", "delivered"],
        "to=%2019195550102": ["failed", "delivered"],
        "to=+15555550000": [],
        "from=ACME": ["failed"],
        "from=acme": [],
        "from=2020": ["open"],
        "from=+442071838750": ["unknown"],
        "from=%2B19195550100": ["refused", "delivered"],
        "sendStatus=accepted": ["open", "failed", "delivered"],
        "sendStatus=refused": ["refused"],
        "sendStatus=unknown": ["unknown"],
        "sendStatus=queued": [],
        "sendStatus=submitting": [],
        "status=pending": ["unknown", "open"],
        "status=sent": ["open"],
        "status=sending": [],
        "status=delivered": ["delivered"],
        "status=failed": ["failed"],
        "status=unconfirmed": [],
        "status=not_sent": ["refused"],
        "complete=true": ["refused", "failed", "delivered"],
        "complete=false": ["unknown", "open"],
        "since=2000-01-01T00:00:00Z": ["unknown", "refused", "open", "failed", "delivered"],
        "since=2100-01-01T00:00:00Z": [],
        "until=2100-01-01T00:00:00Z": ["unknown", "refused", "open", "failed", "delivered"],
        "until=2000-01-01T02:00:00%2B02:00": [],
        "updatedSince=2000-01-01T00:00:00": ["unknown", "refused", "open", "failed", "delivered"],
        "updatedSince=2100-01-01T00:00:00Z": [],
        "to=+19195550103&complete=false&status=sent": ["open"],
        "reference=lunch&status=failed&from=ACME&messageId=id-2&limit=1": ["failed"],
        "reference=lunch&status=sent": [],
        "cursor=00000000000000000000000000": [],
        "limit=200": ["unknown", "refused", "open", "failed", "delivered"],
    }

    assert {query: found(service, query) for query in table} == {
        query: [tags[name] for name in names] for query, names in table.items()
    }


def test_a_found_message_is_the_message(searched: tuple[Service, dict[str, str]]) -> None:
    service, tags = searched

    for message in service.get("/messages")["messages"]:
        assert message == service.message(message["tag"])
        assert message["tag"] in tags.values()


def test_since_includes_its_instant_and_until_does_not(searched: tuple[Service, dict[str, str]]) -> None:
    service, tags = searched
    every = sorted(tags.values(), reverse=True)
    created = {tag: service.message(tag)["createdAt"] for tag in every}

    for instant in created.values():
        since, until = found(service, f"since={instant}"), found(service, f"until={instant}")
        assert since == [tag for tag in every if created[tag] >= instant]
        assert until == [tag for tag in every if created[tag] < instant]
        later = (datetime.fromisoformat(instant) + timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert found(service, f"since={later}") == [tag for tag in every if created[tag] > instant]


def test_updated_since_finds_what_an_event_changed(searched: tuple[Service, dict[str, str]]) -> None:
    service, tags = searched
    newest = max(message["updatedAt"] for message in service.get("/messages")["messages"])
    after = (datetime.fromisoformat(newest) + timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert found(service, f"updatedSince={after}") == []

    service.callback(make_element("delivered", CAROL, message_id="id-4"))

    assert found(service, f"updatedSince={after}") == [tags["open"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_pages_follow_each_other_to_the_end_without_a_gap(searched: tuple[Service, dict[str, str]], limit: int) -> None:
    service, tags = searched
    seen, cursor, pages = [], "", 0
    while True:
        page = service.get(f"/messages?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["messages"]) <= limit
        seen += [message["tag"] for message in page["messages"]]
        pages, cursor = pages + 1, page["nextCursor"]
        if cursor is None:
            break
        service.gateway.answer = Unknown()
        service.send(reference="newer than any page")

    assert seen == sorted(tags.values(), reverse=True)
    assert pages == -(-5 // limit)


def test_a_page_holds_fifty_unless_asked_otherwise(service: Service) -> None:
    service.gateway.answer = Unknown()
    for _ in range(51):
        service.send()

    first = service.get("/messages")
    rest = service.get(f"/messages?cursor={first['nextCursor']}")

    assert (len(first["messages"]), len(rest["messages"]), rest["nextCursor"]) == (50, 1, None)
    assert len(service.get("/messages?limit=200")["messages"]) == 51


@pytest.mark.parametrize("limit", ["1", "50", "200"])
def test_a_limit_from_1_to_200_is_kept(shared_service: Service, limit: str) -> None:
    assert shared_service.call("GET", f"/messages?limit={limit}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *(f"limit={text}" for text in ("0", "201", "-1", "", "x", "1.5", "1e2", "0x10", "9" * 5_000, "null", "1_0")),
        *(f"limit={text}" for text in ("%D9%A5", "%C2%B2", "1%00")),
        *(f"cursor={text}" for text in ("", "x", "%00", "0" * 25, "0" * 27, "z" * 26, "01ARZ3NDEKTSV4RRFFQ69G5FAV%0A")),
        *(f"to={text}" for text in ("", "x", "19195550101", "%2B", "++19195550101", "%2B19195550101%0A", "%2B1%00")),
        *(f"from={text}" for text in ("", "12", "+", "%2B1", "%C3%A4", "ABCDEFGHIJKL")),
        *(
            f"{name}={text}"
            for name in ("status", "sendStatus")
            for text in ("", "Delivered", "done", "PENDING", "%00")
        ),
        "status=accepted",
        "sendStatus=delivered",
        *(f"complete={text}" for text in ("", "1", "0", "yes", "True", "null")),
        *(
            f"{name}={text}"
            for name in ("since", "until", "updatedSince")
            for text in ("", "now", "2026-01-01", "1795300147", "1999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "%00")
        ),
        "since=2026-01-01T00:00:00+02:00",
        *(f"reference={text}" for text in ("", "r" * 256, "a%00b")),
        *(f"messageId={text}" for text in ("", "i" * 129, "a%00b")),
    ],
    ids=lambda query: query[:40],
)
def test_a_filter_that_cannot_be_read_is_named(shared_service: Service, query: str) -> None:
    answer = shared_service.call("GET", f"/messages?{query}")

    assert wrong_fields(answer) == [query.partition("=")[0]]


@pytest.mark.parametrize(
    "name",
    ["tag", "sender", "message_id", "after_tag", "send_status", "Reference", "to[]", "_schema_", "page", "\u00e4"],
)
def test_an_unknown_filter_is_named(shared_service: Service, name: str) -> None:
    assert wrong_fields(shared_service.call("GET", f"/messages?{quote(name)}=x&limit=1")) == [name]


@pytest.mark.parametrize("query", ["to=%2B19195550101&to=%2B19195550102", "limit=1&limit=1", "cursor=x&cursor=y"])
def test_a_filter_that_is_given_twice_is_named(shared_service: Service, query: str) -> None:
    assert wrong_fields(shared_service.call("GET", f"/messages?{query}")) == [query.partition("=")[0]]


def test_all_wrong_filters_are_named_at_once(shared_service: Service) -> None:
    answer = shared_service.call("GET", "/messages?limit=0&status=x&to=y&more=z")

    assert is_problem(answer, 422)
    assert wrong_fields(answer) == ["limit", "more", "status", "to"]

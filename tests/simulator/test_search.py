"""GET /messages: credentials, filters, pages, and Bandwidth's quirks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from receiver.simulator import SearchShape, Simulator, Switches
from tests.support.processes import wait_for
from tests.support.simulators import ALICE, BOB, MESSAGE, Send, Start, bearer, messages_url, post

INVALID, CONTRADICTED, EXPIRED = "+12005554720", "+12005564404", "+12005600000"
SILENT, ON_ITS_WAY, TO_CARRIER = "+12005660000", "+12005590000", "+12005630000"


def get(simulator: Simulator, **query: Any) -> requests.Response:
    url = messages_url(simulator)
    return requests.get(url, params=query, headers=bearer(simulator), timeout=10)


def found(simulator: Simulator, **query: Any) -> list[Any]:
    response = get(simulator, **query)
    assert response.status_code == 200, response.text
    rows: list[Any] = response.json()["messages"]
    return rows


def test_a_group_is_a_row_for_each_recipient_without_tag_and_text(simulator: Simulator, send: Send) -> None:
    sent = send().json()
    assert simulator.wait_until_idle(10)

    rows = found(simulator, messageId=sent["id"])

    assert [row["destinationTn"] for row in rows] == [ALICE, BOB]
    assert rows[0] == dict.fromkeys(
        ("carrierName", "messageSize", "campaignClass", "campaignId", "bwLatency", "carrierLatency", "location")
    ) | {
        "messageId": sent["id"],
        "accountId": "9900000",
        "sourceTn": MESSAGE["from"],
        "destinationTn": ALICE,
        "messageStatus": "DELIVERED",
        "messageDirection": "OUTBOUND",
        "messageType": "mms",
        "segmentCount": 1,
        "errorCode": 0,
        "receiveTime": sent["time"],
        "messageLength": 20,
        "attachmentCount": 0,
        "recipientCount": 2,
        "callingNumberCountryA3": "USA",
        "calledNumberCountryA3": "USA",
        "product": "LOCAL_A2P",
    }


@pytest.mark.parametrize(
    ("number", "status", "error_code"),
    [
        (ALICE, "DELIVERED", 0),
        (INVALID, "FAILED", 4720),
        (CONTRADICTED, "FAILED", 4404),
        ("+12005574404", "FAILED", 4404),
        (EXPIRED, "DELIVERED", 0),
        (SILENT, "RECEIVED", 0),
        (ON_ITS_WAY, "SENDING", 0),
        (TO_CARRIER, "DELIVERED", 0),
    ],
)
def test_a_status_is_the_last_of_the_recipients_steps(
    simulator: Simulator, send: Send, number: str, status: str, error_code: int
) -> None:
    message_id = send(to=number).json()["id"]
    assert simulator.wait_until_idle(10)

    (row,) = found(simulator, messageId=message_id)

    assert (row["messageStatus"], row["errorCode"], row["messageType"]) == (status, error_code, "sms")


@pytest.mark.parametrize(
    ("number", "statuses"),
    [
        (ALICE, ["RECEIVED", "DELIVERED"]),
        (TO_CARRIER, ["RECEIVED", "SENT", "DELIVERED"]),
        (EXPIRED, ["RECEIVED", "FAILED", "DELIVERED"]),
    ],
)
def test_a_status_is_never_ahead_of_the_time(start: Start, number: str, statuses: list[str]) -> None:
    simulator = start(pace=(0.2, 0.2))
    message_id = post(simulator, to=number).json()["id"]
    seen: list[str] = []

    def at_the_end() -> bool:
        status = found(simulator, messageId=message_id)[0]["messageStatus"]
        if status not in seen:
            seen.append(status)
        return len(seen) == len(statuses)

    wait_for(at_the_end, "every status", seconds=10)
    assert seen == statuses


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"sourceTn": "+12345678901"}, [BOB, ALICE, INVALID]),
        ({"sourceTn": "+12345678902"}, []),
        ({"destinationTn": ALICE}, [ALICE]),
        ({"destinationTn": f"{INVALID},{BOB}"}, [BOB, INVALID]),
        ({"destinationTn": "234567890"}, [BOB, ALICE]),
        ({"destinationTn": "34567,20055"}, []),
        ({"messageStatus": "FAILED"}, [INVALID]),
        ({"messageStatus": "QUEUED"}, []),
        ({"errorCode": 4720}, [INVALID]),
        ({"messageDirection": "INBOUND"}, []),
        ({"messageDirection": "OUTBOUND", "messageType": "sms"}, [BOB, ALICE, INVALID]),
        ({"messageType": "mms"}, []),
        ({"messageStatus": "DELIVERED", "destinationTn": "78903"}, [BOB]),
    ],
)
def test_a_filter_finds_the_newest_first(
    simulator: Simulator, send: Send, query: dict[str, Any], expected: list[str]
) -> None:
    for number in (INVALID, ALICE, BOB):
        send(to=number)
    assert simulator.wait_until_idle(10)

    assert [row["destinationTn"] for row in found(simulator, **query)] == expected


def test_a_plus_sign_that_is_not_escaped_finds_nothing(simulator: Simulator, send: Send) -> None:
    send(to=ALICE)
    url = f"{messages_url(simulator)}?destinationTn="

    def rows(written: str) -> int:
        return len(requests.get(url + written, headers=bearer(simulator), timeout=10).json()["messages"])

    assert (rows(ALICE), rows(ALICE.replace("+", "%2B"))) == (0, 1)


def test_times_are_those_of_receipt_both_ends_included(simulator: Simulator, send: Send) -> None:
    at = datetime.fromisoformat(send(to=ALICE).json()["time"])
    step = timedelta(milliseconds=1)

    def between(earliest: datetime, latest: datetime) -> int:
        written = {"fromDateTime": earliest, "toDateTime": latest}
        texts = {name: each.isoformat(timespec="milliseconds") for name, each in written.items()}
        return len(found(simulator, **texts))

    assert [between(at, at), between(at - step, at + step), between(at + step, at + step)] == [1, 1, 0]
    assert between(at - step, at - step) == 0


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"fromDateTime": "2024-01-01T00:00:00Z"},
        {"toDateTime": "2024-01-01"},
        {"fromDateTime": "2024-13-01T00:00:00.000Z"},
        {"errorCode": "none"},
        {"limit": "0"},
        {"limit": "10001"},
        {"limit": "many"},
        {"limitTotalCount": "perhaps"},
        {"pageToken": "page 2"},
        {"pageToken": "cGFnZSAy"},
        {"destinationTn": "+123"},
        {"destinationTn": ",".join([ALICE] * 11)},
        {"sort": "sourceTn:desc"},
        {"tag": "test message"},
    ],
)
def test_an_invalid_search_is_a_bad_request(simulator: Simulator, query: dict[str, str]) -> None:
    response = get(simulator, **query)

    assert (response.status_code, response.json()["type"]) == (400, "bad-request")


def test_pages_link_to_the_next_and_the_previous(simulator: Simulator, send: Send) -> None:
    ids = [send(to=ALICE).json()["id"] for _ in range(5)][::-1]
    pages, query = [], {"sourceTn": MESSAGE["from"], "limit": "2"}
    while True:
        pages.append(get(simulator, **query).json())
        if "nextPageToken" not in pages[-1]["pageInfo"]:
            break
        query["pageToken"] = pages[-1]["pageInfo"]["nextPageToken"]

    assert [[row["messageId"] for row in page["messages"]] for page in pages] == [ids[:2], ids[2:4], ids[4:]]
    assert [page["totalCount"] for page in pages] == [5, 5, 5]
    linked = requests.get(pages[1]["pageInfo"]["prevPage"], headers=bearer(simulator), timeout=10).json()
    assert linked == pages[0]


def test_a_single_page_has_no_links(simulator: Simulator, send: Send) -> None:
    send(to=ALICE)

    assert get(simulator, limit=100).json()["pageInfo"] == {}


def test_a_page_has_100_rows_by_default(start: Start) -> None:
    simulator = start(callback_url=None)
    for _ in range(11):
        post(simulator, to=[f"+1999555010{digit}" for digit in range(10)])

    assert len(found(simulator, messageType="mms")) == 100
    assert len(found(simulator, limit=110)) == 110
    assert get(simulator, limitTotalCount="true", limit=1).json()["totalCount"] == 110


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer abc"}, {"Authorization": "Basic dTpw"}])
def test_without_a_token_a_search_is_unauthorized(simulator: Simulator, headers: dict[str, str]) -> None:
    response = requests.get(f"{messages_url(simulator)}?limit=1", headers=headers, timeout=10)

    assert (response.status_code, response.json()) == (
        401,
        {"type": "unauthorized", "description": "Your request could not be authenticated"},
    )


def test_too_many_searches_are_refused_with_a_retry_after(start: Start) -> None:
    simulator = start(searches=2, search_seconds=1.0)
    assert [get(simulator, limit=1).status_code for _ in range(2)] == [200, 200]

    response = get(simulator, limit=1)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    assert response.json()["type"] == "rate_limit_exceeded"
    wait_for(lambda: get(simulator, limit=1).ok, "the quota to be free again", seconds=10)


def test_the_body_may_be_an_array_around_the_object(simulator: Simulator, send: Send) -> None:
    send(to=ALICE)
    simulator.switches = Switches(search=SearchShape.ARRAY)

    (page,) = get(simulator, limit=1).json()

    assert page["totalCount"] == 1


def test_a_group_may_be_one_row(simulator: Simulator, send: Send) -> None:
    send()
    simulator.switches = Switches(search=SearchShape.ONE_ROW)

    (row,) = found(simulator, limit=100)

    assert (row["destinationTn"], row["recipientCount"]) == (ALICE, 2)


def test_a_message_may_appear_late_or_never(simulator: Simulator, send: Send) -> None:
    simulator.switches = Switches(index_seconds=None)
    send()
    simulator.switches = Switches(index_seconds=0.3)
    late = send(to=ALICE).json()

    assert found(simulator, limit=100) == []
    wait_for(lambda: found(simulator, limit=100), "the second message to appear", seconds=10)
    received = datetime.fromisoformat(late["time"])
    assert datetime.now(UTC) >= received + timedelta(seconds=0.3)
    assert [row["messageId"] for row in found(simulator, limit=100)] == [late["id"]]
    assert re.fullmatch(r".*\.\d{3}Z", found(simulator, limit=100)[0]["receiveTime"])

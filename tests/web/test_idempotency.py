"""Idempotency-Key on POST /messages: a request that is repeated is one request, whatever became of it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from receiver.core import times
from receiver.core.messages import MAX_KEY
from receiver.settings import ApiKey
from tests.support.builders import ACCEPTED, ALICE, READ_ONLY_KEY, FakeGateway
from tests.support.service import LATER, ONCE, OUTAGES, Headers, Service, execute, is_problem, outage, wrong_fields
from tests.web.test_send import NO_CONNECTION

BODY = '{"to": ["+19195550101"], "text": "Lunch is at noon.", "reference": "é"}'
THE_SAME = {
    "to the letter": BODY,
    "with its fields in another order": '{"reference": "é", "text": "Lunch is at noon.", "to": ["+19195550101"]}',
    "with other white space": '\n{"to":\t[ "+19195550101" ],"text":"Lunch is at noon.","reference":"é"}\r\n',
    "with null for what is absent": BODY.replace("}", ', "media": null, "priority": null}'),
    "with other escapes": BODY.replace("L", "\\u004c").replace("+", "\\u002B").replace("é", "\\u00e9"),
}
ANOTHER = {
    "to somebody else": BODY.replace("0101", "0102"),
    "to one more": BODY.replace('"+19195550101"', '"+19195550101", "+19195550102"'),
    "of another text": BODY.replace("noon.", "noon. "),
    "with one field more": BODY.replace("}", ', "priority": "default"}'),
    "with one field less": BODY.replace(', "reference": "é"', ""),
    "that is not even right": BODY.replace('["+19195550101"]', '"+19195550101"'),
    "that is no object": "[]",
}


def keyed(key: str) -> Headers:
    return {"Idempotency-Key": key}


def count(service: Service, table: str) -> int:
    """The rows of a table."""
    with service.database.read() as session:
        return int(session.connection().exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


@pytest.mark.parametrize("again", THE_SAME.values(), ids=THE_SAME.keys())
def test_a_repeat_is_answered_as_the_first_request_and_sends_nothing(sqlite_service: Service, again: str) -> None:
    first = sqlite_service.post_message(BODY, headers=ONCE)

    repeat = sqlite_service.post_message(again, headers=ONCE)

    assert (first.status_code, repeat.status_code) == (202, 202)
    assert repeat.get_json() == first.get_json()
    assert repeat.headers["Location"] == first.headers["Location"]
    assert len(sqlite_service.gateway.sent) == count(sqlite_service, "messages") == 1


@pytest.mark.parametrize("other", ANOTHER.values(), ids=ANOTHER.keys())
def test_a_key_that_came_with_another_body_is_refused(sqlite_service: Service, other: str) -> None:
    first = sqlite_service.post_message(BODY, headers=ONCE).get_json()

    assert wrong_fields(sqlite_service.post_message(other, headers=ONCE)) == ["Idempotency-Key"]
    assert wrong_fields(sqlite_service.post_message(other, headers=ONCE | LATER)) == ["Idempotency-Key"]

    assert sqlite_service.post_message(BODY, headers=ONCE).get_json() == first
    assert len(sqlite_service.gateway.sent) == count(sqlite_service, "messages") == 1


def test_two_keys_and_no_key_at_all_are_so_many_requests(service: Service) -> None:
    tags = {service.send(headers=each).get_json()["tag"] for each in (ONCE, keyed('"twice"'), {}, {})}

    assert len(tags) == len(service.gateway.sent) == 4
    assert count(service, "idempotency_keys") == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('"a"', "a"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (r'"a \"quoted\" \\ word"', r'a "quoted" \ word'),
        ("k" * MAX_KEY, '"' + "k" * MAX_KEY + '"'),
        ('"' + r"\"" * MAX_KEY + '"', '"' + r"\"" * MAX_KEY + '"'),
        ("~ !", '"~ !"'),
    ],
)
def test_a_key_is_the_same_with_its_quotes_and_without_them(sqlite_service: Service, first: str, second: str) -> None:
    answers = [sqlite_service.send(headers=keyed(key)) for key in (first, second)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.get_json()["tag"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["A", "a ", '"a "', "a;b=1", "a,b", "'a'"])
def test_a_key_that_differs_in_one_letter_is_another(sqlite_service: Service, key: str) -> None:
    sqlite_service.send(headers=keyed("a"))

    assert sqlite_service.send(headers=keyed(key)).status_code == 202
    assert len(sqlite_service.gateway.sent) == 2


@pytest.mark.parametrize(
    "key",
    [
        "",
        '""',
        '"',
        "k" * (MAX_KEY + 1),
        '"' + "k" * (MAX_KEY + 1) + '"',
        '"a',
        '"a"b',
        '"a";p=1',
        '"a", "b"',
        r'"a\b"',
        '"a\\"',
        "a\x00",
        "a\tb",
        "a\x7f",
        "\xfc",
        '"\xfc"',
    ],
)
def test_what_is_no_key_is_refused_and_nothing_is_sent(sqlite_service: Service, key: str) -> None:
    answer = sqlite_service.call(
        "POST", "/messages", data=BODY.encode(), environ_overrides={"HTTP_IDEMPOTENCY_KEY": key}
    )

    assert wrong_fields(answer) == ["Idempotency-Key"]
    assert (sqlite_service.gateway.sent, count(sqlite_service, "messages")) == ([], 0)


@pytest.mark.parametrize("body", ['{"to": []}', '{"to": ["+19195550101"], "text": "x", "more": 1}', "[]", "{", "1e999"])
def test_a_wrong_body_does_not_use_up_its_key(sqlite_service: Service, body: str) -> None:
    assert sqlite_service.post_message(body, headers=ONCE).status_code in (400, 422)
    assert count(sqlite_service, "idempotency_keys") == 0

    assert sqlite_service.post_message(BODY, headers=ONCE).status_code == 202


def test_a_body_of_any_depth_is_a_mistake_of_the_caller(sqlite_service: Service) -> None:
    """Somewhere below a thousand it becomes too deep: first to be written as canonical JSON, then to be read."""
    statuses = {
        sqlite_service.post_message('{"to": %s}' % ("[" * depth + "]" * depth), headers=ONCE).status_code
        for depth in range(900, 1001)
    }

    assert statuses == {400, 422}


def test_a_key_belongs_to_the_name_of_an_api_key(database_url: str) -> None:
    """Two API keys may use the same Idempotency-Key; a secret that is rotated under its name keeps what it had."""
    keys = (ApiKey("app", "old secret"), ApiKey("app", "new secret"), ApiKey("other", "theirs"))
    with Service(database_url, api_keys=keys) as service:
        tags = [service.send(key=key, headers=ONCE).get_json()["tag"] for key in ("old secret", "new secret", "theirs")]

        assert wrong_fields(service.send(key="new secret", headers=ONCE, text="Dinner.")) == ["Idempotency-Key"]
    assert tags[0] == tags[1] != tags[2]
    assert len(service.gateway.sent) == 2


def test_without_a_key_that_may_write_nobody_learns_what_was_sent(service: Service) -> None:
    service.send(headers=ONCE)

    assert is_problem(service.send(key=READ_ONLY_KEY, headers=ONCE), 403)
    assert is_problem(service.send(key="nobody's", headers=ONCE), 401)


def test_a_key_is_kept_for_seven_days(service: Service) -> None:
    before = times.now()
    service.send(headers=ONCE)

    with service.database.read() as session:
        row = session.connection().exec_driver_sql("SELECT api_key, key, sha256, expires_at FROM idempotency_keys")
        api_key, key, sha256, expires_at = row.one()
    assert (api_key, key) == ("app", "once")
    canonical = json.dumps({"text": "Lunch is at noon.", "to": [ALICE]}, separators=(",", ":"))
    assert sha256 == hashlib.sha256(canonical.encode()).hexdigest()
    kept = times.parse(str(expires_at)) - before  # type: ignore[operator]
    assert timedelta(days=7) <= kept < timedelta(days=7, minutes=1)


EXPIRE = "UPDATE idempotency_keys SET expires_at = '2020-01-01 00:00:00.000000'"


def test_after_that_it_is_free_again_even_for_another_body(service: Service) -> None:
    first = service.send(headers=ONCE).get_json()["tag"]
    execute(service.database_url, EXPIRE)

    second = service.send(headers=ONCE, text="Dinner is at eight.").get_json()["tag"]

    assert service.send(headers=ONCE, text="Dinner is at eight.").get_json()["tag"] == second != first
    assert wrong_fields(service.send(headers=ONCE)) == ["Idempotency-Key"]
    assert (len(service.gateway.sent), count(service, "idempotency_keys")) == (2, 1)


def test_whenever_a_key_comes_two_that_have_expired_are_forgotten_and_no_others(service: Service) -> None:
    for key in ("a", "b", "c", "d"):
        service.send(headers=keyed(key))
    execute(service.database_url, EXPIRE + " WHERE key <> 'd'")

    service.send(headers=keyed("e"))
    assert count(service, "idempotency_keys") == 3
    service.send(headers=keyed("f"))
    assert count(service, "idempotency_keys") == 3

    assert [service.send(headers=keyed(key)).status_code for key in ("d", "e", "f")] == [202] * 3
    assert len(service.gateway.sent) == count(service, "messages") == 6


@pytest.mark.parametrize("prefer", [{}, LATER], ids=["at once", "later"])
def test_twenty_requests_with_one_key_at_the_same_moment_are_one(service: Service, prefer: Headers) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: service.send(headers=ONCE | prefer), range(20)))

    assert {answer.status_code for answer in answers} <= ({202} if prefer else {202, 409})
    assert 202 in {answer.status_code for answer in answers}
    assert len({json.loads(answer.text)["tag"] for answer in answers}) == 1
    assert len(service.gateway.sent) == (0 if prefer else 1)
    assert count(service, "messages") == count(service, "idempotency_keys") == 1


def test_twenty_different_requests_with_one_key_at_the_same_moment_are_one_and_nineteen_mistakes(
    service: Service,
) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda place: service.send(headers=ONCE, text=f"Lunch {place}"), range(20)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202] + [422] * 19
    assert len(service.gateway.sent) == count(service, "messages") == 1


def test_twenty_repeats_of_what_was_refused_are_one_more_attempt(database_url: str) -> None:
    """The second attempt is answered 202; whoever comes while it is on its way is told so."""
    with Service(database_url, FakeGateway(NO_CONNECTION)) as service:
        tag = json.loads(service.send(headers=ONCE).text)["tag"]
        service.gateway.answer = ACCEPTED
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: service.send(headers=ONCE), range(20)))

        assert {answer.status_code for answer in answers} <= {202, 409}
        assert {json.loads(answer.text)["tag"] for answer in answers} == {tag}
        assert [sent for _, sent in service.gateway.sent] == [tag, tag]


@OUTAGES
def test_without_a_database_nothing_is_sent_and_the_repeat_sends_it_once(
    database_url: str, request: pytest.FixtureRequest, kind: str
) -> None:
    with Service(database_url) as service:
        with outage(database_url, kind, request):
            assert is_problem(service.send(headers=ONCE), 503)
            assert is_problem(service.send(headers=ONCE | LATER), 503)
        assert service.gateway.sent == []

        assert [service.send(headers=ONCE).status_code for _ in range(2)] == [202, 202]
        assert len(service.gateway.sent) == 1


@OUTAGES
def test_while_the_database_is_away_a_repeat_is_not_taken_for_a_first_request(
    database_url: str, request: pytest.FixtureRequest, kind: str
) -> None:
    with Service(database_url) as service:
        first = service.send(headers=ONCE).get_json()
        with outage(database_url, kind, request):
            assert is_problem(service.send(headers=ONCE), 503)

        assert service.send(headers=ONCE).get_json() == first
        assert len(service.gateway.sent) == 1

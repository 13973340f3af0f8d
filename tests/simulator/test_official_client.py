"""Bandwidth's own client works against the simulator.

It requests a token before its first request, uses it until a minute before it expires, and does not request another
one when the token is refused.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bandwidth import ApiClient, Configuration
from bandwidth.api.messages_api import MessagesApi
from bandwidth.exceptions import (
    ApiException,
    BadRequestException,
    ForbiddenException,
    NotFoundException,
    ServiceException,
    UnauthorizedException,
)
from bandwidth.models.message import Message
from bandwidth.models.message_request import MessageRequest

from receiver.simulator import RequestFate, Simulator, Switches
from tests.support.callback_receiver import CallbackReceiver
from tests.support.processes import wait_for
from tests.support.simulators import ALICE, BOB, MESSAGE, Start

pytestmark = pytest.mark.outside

Create = Callable[..., Message]


@pytest.fixture
def create(simulator: Simulator) -> Create:
    return lambda **fields: send_with(messages_api(simulator), **fields)


def send_with(api: MessagesApi, **fields: Any) -> Message:
    """Sends MESSAGE, changed by the fields given."""
    return api.create_message("9900000", MessageRequest.from_dict(MESSAGE | fields))


def messages_api(simulator: Simulator) -> MessagesApi:
    return api_of(simulator, client_id="client", client_secret="secret", access_token_url=simulator.token_url)


def api_of(simulator: Simulator, **credentials: str) -> MessagesApi:
    configuration = Configuration(host=simulator.url, ignore_operation_servers=True, **credentials)
    return MessagesApi(ApiClient(configuration))


def test_it_reads_the_response_to_an_accepted_group_message(create: Create) -> None:
    expiration = datetime.now(UTC) + timedelta(days=1)
    response = create(priority="high", media=["https://example.com/a.jpg"], expiration=expiration)

    assert response.additional_properties == {}
    assert response.id is not None
    assert len(response.id) == 29
    assert response.time is not None
    assert int(response.id[:13]) == round(response.time.timestamp() * 1000)
    assert response.to_dict() == MESSAGE | {
        "id": response.id,
        "owner": "+12345678901",
        "time": response.time,
        "segmentCount": 1,
        "direction": "out",
        "media": ["https://example.com/a.jpg"],
        "priority": "high",
        "expiration": expiration,
    }


def test_it_sends_json_without_a_charset_and_that_is_accepted(create: Create, simulator: Simulator) -> None:
    create()

    assert simulator.messages[0].headers["Content-Type"] == "application/json"
    assert simulator.messages[0].body == MESSAGE
    assert "Authorization" not in simulator.messages[0].headers


def test_one_event_per_recipient_follows(create: Create, simulator: Simulator, receiver: CallbackReceiver) -> None:
    response = create()

    assert simulator.wait_until_idle(10)
    assert sorted(event["to"] for event in receiver.events) == [ALICE, BOB]
    assert {event["message"]["id"] for event in receiver.events} == {response.id}


def test_an_invalid_number_raises_its_exception_with_the_live_wording(create: Create) -> None:
    with pytest.raises(BadRequestException) as raised:
        create(to=["+invalid"])

    assert error_of(raised.value) == {
        "type": "request-validation",
        "description": "Your request could not be accepted",
        "fieldErrors": [
            {
                "fieldName": "to",
                "description": "'+invalid' must be replaced with a valid E164 formatted telephone number",
            }
        ],
    }


@pytest.mark.parametrize(
    ("fate", "exception", "status", "error_type"),
    [
        (RequestFate.BAD_REQUEST, BadRequestException, 400, "request-validation"),
        (RequestFate.UNAUTHORIZED, UnauthorizedException, 401, "unauthorized"),
        (RequestFate.FORBIDDEN, ForbiddenException, 403, "forbidden"),
        (RequestFate.UNSUPPORTED_TYPE, ApiException, 415, "unsupported-content-type"),
        (RequestFate.QUEUE_FULL, ApiException, 429, "max-message-queue-size-exceeded"),
        (RequestFate.SERVER_ERROR, ServiceException, 500, "internal-server-error"),
    ],
)
def test_each_refusal_raises_its_exception(
    create: Create, simulator: Simulator, fate: RequestFate, exception: type, status: int, error_type: str
) -> None:
    simulator.switches = Switches(request=fate)

    with pytest.raises(ApiException) as raised:
        create()

    assert type(raised.value) is exception
    assert raised.value.status == status
    assert error_of(raised.value)["type"] == error_type


def test_a_404_raises_its_exception_although_its_shape_is_another(create: Create, simulator: Simulator) -> None:
    """The client's model of errors requires type and description; a 404 has neither, so nothing is parsed."""
    simulator.switches = Switches(request=RequestFate.NOT_FOUND)

    with pytest.raises(NotFoundException) as raised:
        create()

    assert raised.value.data is None


def test_it_lists_messages(create: Create, simulator: Simulator) -> None:
    sent = create()
    api = messages_api(simulator)

    page = api.list_messages("9900000", message_id=sent.id, source_tn=MESSAGE["from"], limit=1, limit_total_count=True)

    assert page.page_info is not None
    assert page.messages is not None
    assert page.total_count == 2
    assert page.messages[0].destination_tn == ALICE
    assert page.messages[0].additional_properties == page.page_info.additional_properties == {}
    token = page.page_info.next_page_token
    (second,) = api.list_messages("9900000", message_id=sent.id, limit=1, page_token=token).messages or []
    assert second.destination_tn == BOB


def test_it_reads_why_messages_are_not_listed(start: Start) -> None:
    with pytest.raises(UnauthorizedException) as raised:
        messages_api(start(account_id="5000000")).list_messages("9900000", limit=1)

    assert set(error_of(raised.value)) == {"type", "description"}


def test_it_retries_a_search_after_retry_after(start: Start) -> None:
    """Its HTTP library waits for as long as Retry-After says."""
    api = messages_api(start(searches=1, search_seconds=1.0))

    assert [api.list_messages("9900000", limit=1).total_count for _ in range(2)] == [0, 0]


def test_it_requests_a_token_once_and_uses_it_for_every_request(start: Start) -> None:
    simulator = start(client_id="client", client_secret="secret")
    api = messages_api(simulator)

    for _ in range(3):
        send_with(api)
    api.list_messages("9900000", limit=1)

    assert len(simulator.messages) == 3
    assert simulator.token_responses == {200: 1}


def test_it_requests_another_token_a_minute_before_the_first_expires(start: Start) -> None:
    simulator = start(token_seconds=61.0)  # the client counts whole seconds, so it uses this one for less than one
    api = messages_api(simulator)

    def sent_with_another() -> bool:
        send_with(api)
        return simulator.token_responses[200] > 1

    wait_for(sent_with_another, "another token", seconds=10)


def test_a_new_client_works_after_every_token_was_revoked(simulator: Simulator) -> None:
    api = messages_api(simulator)
    send_with(api)
    simulator.revoke_tokens()

    with pytest.raises(UnauthorizedException) as raised:
        send_with(api)
    send_with(messages_api(simulator))

    assert error_of(raised.value) == {"type": "unauthorized", "description": "Authentication Failed"}
    assert len(simulator.messages) == 2


@pytest.mark.parametrize("wrong", ["client_id", "client_secret"])
def test_a_wrong_client_gets_no_token(start: Start, wrong: str) -> None:
    """The client ignores the status, and fails on the missing token."""
    simulator = start(**({"client_id": "client", "client_secret": "secret"} | {wrong: "other"}))

    with pytest.raises(KeyError, match="access_token"):
        send_with(messages_api(simulator))

    assert simulator.token_responses == {401: 1}
    assert simulator.messages == ()


def test_its_username_and_password_are_refused(simulator: Simulator) -> None:
    api = api_of(simulator, username="user", password="password")

    with pytest.raises(UnauthorizedException) as raised:
        send_with(api)

    assert error_of(raised.value) == {"type": "unauthorized", "description": "Authentication Failed"}
    assert (simulator.messages, simulator.token_responses) == ((), {})


def test_its_username_and_password_are_accepted_if_a_switch_allows_them(start: Start) -> None:
    simulator = start(username="user", password="password", switches=Switches(basic=True))

    send_with(api_of(simulator, username="user", password="password"))

    assert len(simulator.messages) == 1
    assert simulator.token_responses == {}


def error_of(exception: ApiException) -> Any:
    assert exception.data is not None
    assert exception.data.additional_properties == {}
    return exception.data.to_dict()

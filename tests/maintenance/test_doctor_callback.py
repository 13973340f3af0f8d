"""The doctor's findings about a callback URL: faults of servers and proxies, over real sockets."""

import time

import pytest

from receiver.maintenance.doctor import bandwidth
from receiver.maintenance.doctor.findings import Finding, Mark
from receiver.settings import Credential
from tests.support.builders import make_settings
from tests.support.scripted_server import Peer, Script, Serve, answer

CHALLENGE = 'WWW-Authenticate: Basic realm="bandwidth-receiver"'
TALLY = b'{"recorded": 0, "duplicates": 0, "unlinked": 0, "unreadable": 0}'
RIGHT = b"YmFuZHdpZHRoOmNhbGxiYWNrOnBhc3N3b3Jk"
"""bandwidth:callback:password, as Basic authentication writes it."""


def behaviour(*, bare: bytes, right: bytes = b"", other: bytes = b"") -> Script:
    """Responds according to the credentials, with a connection for each request."""

    def script(peer: Peer) -> None:
        request = peer.read_request()
        with_credentials = right if RIGHT in request else other
        peer.send(with_credentials if b"uthorization:" in request else bare)

    return script


REFUSES = answer("401 Unauthorized", b"{}", CHALLENGE)
TAKES = answer("200 OK", TALLY)
SOUND = behaviour(bare=REFUSES, right=TAKES, other=REFUSES)


def examine(url: str, **changes: object) -> dict[str, Finding]:
    found = list(bandwidth.check_callback_url(url, make_settings("sqlite:///unused", **changes)))
    return {each.check: each for each in found}


def marks(found: dict[str, Finding]) -> list[Mark]:
    """The marks of challenge, callback credentials and wrong credentials."""
    return [found[check].mark for check in (bandwidth.CHALLENGE, bandwidth.ACCEPTS, bandwidth.REFUSES)]


def test_a_sound_url_is_tried_bare_then_with_right_then_with_wrong_credentials_and_never_with_an_event(
    serve: Serve,
) -> None:
    server = serve(SOUND)

    found = examine(f"http://127.0.0.1:{server.port}/callbacks/bandwidth")

    assert marks(found) == [Mark.OK, Mark.OK, Mark.OK]
    bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    assert bodies == [b"[]"] * 3
    assert [b"uthorization:" in request for request in server.requests] == [False, True, True]


@pytest.mark.parametrize(
    ("bare", "says", "remedy"),
    [
        (answer("401 Unauthorized", b"{}"), "without WWW-Authenticate", "proxy"),
        (answer("401 Unauthorized", b"{}", "WWW-Authenticate: Bearer"), "bearer", "Basic"),
        (answer("301 Moved", b"", "Location: https://elsewhere.example/"), "https://elsewhere.example/", "final URL"),
        (answer("404 Not Found", b"nginx"), "404", "/callbacks/bandwidth"),
        (answer("405 Method Not Allowed", b"nginx"), "405", "/callbacks/bandwidth"),
        (answer("502 Bad Gateway", b"nginx"), "502", "running"),
        (answer("503 Service Unavailable", b"{}"), "503", "database"),
        (answer("200 OK", b"<html>It works!</html>"), "200", "not this program's"),
        (answer("200 OK", b'{"ok": true}'), "200", "not this program's"),
        (answer("200 OK", b"[]"), "200", "not this program's"),
        (answer("200 OK", b"[" * 100_000), "200", "not this program's"),
        (TAKES, "accepted", "restart"),
    ],
)
def test_whatever_keeps_bandwidth_from_sending_credentials_is_reported(
    serve: Serve, bare: bytes, says: str, remedy: str
) -> None:
    found = examine(f"http://127.0.0.1:{serve(behaviour(bare=bare)).port}/")

    assert marks(found) == [Mark.WRONG, Mark.SKIPPED, Mark.SKIPPED]
    assert says in found[bandwidth.CHALLENGE].found
    assert remedy in found[bandwidth.CHALLENGE].remedy


def test_a_challenge_beside_others_is_one(serve: Serve) -> None:
    both = answer("401 Unauthorized", b"{}", "WWW-Authenticate: Negotiate", CHALLENGE)

    assert (
        marks(examine(f"http://127.0.0.1:{serve(behaviour(bare=both, right=TAKES, other=both)).port}/"))
        == [Mark.OK] * 3
    )


def test_credentials_that_do_not_get_through_are_reported_by_their_place(serve: Serve) -> None:
    server = serve(behaviour(bare=REFUSES, right=TAKES, other=REFUSES))
    credentials = (Credential("old", "hush"), Credential("bandwidth", "callback:password"))

    settings = make_settings("sqlite:///unused", callback_credentials=credentials)
    found = list(bandwidth.check_callback_url(f"http://127.0.0.1:{server.port}/", settings))

    accepts = [each for each in found if each.check == bandwidth.ACCEPTS]
    assert [each.mark for each in accepts] == [Mark.WRONG, Mark.OK]
    assert ["entry 1" in accepts[0].found, "entry 2" in accepts[1].found] == [True, True]
    assert "hush" not in str(found)


@pytest.mark.parametrize("other", [TAKES, answer("500 Oops", b"")])
def test_a_server_that_does_not_refuse_wrong_credentials_is_reported(serve: Serve, other: bytes) -> None:
    server = serve(behaviour(bare=REFUSES, right=TAKES, other=other))

    assert marks(examine(f"http://127.0.0.1:{server.port}/")) == [Mark.OK, Mark.OK, Mark.WRONG]


def test_an_installation_that_lets_anybody_in_is_a_warning(serve: Serve) -> None:
    server = serve(behaviour(bare=TAKES, other=TAKES))
    open_doors = {"callback_credentials": (), "allow_unauthenticated_callbacks": True}

    found = examine(f"http://127.0.0.1:{server.port}/", **open_doors)

    assert found[bandwidth.CHALLENGE].mark is Mark.WARNING


def test_what_cannot_be_reached_is_reported(serve: Serve) -> None:
    gone, mute = serve(SOUND), serve(lambda peer: None)
    gone.close()
    untrusted = serve(SOUND, tls=True)

    told = [
        examine(url)[bandwidth.CHALLENGE].found
        for url in (
            f"http://127.0.0.1:{gone.port}/",
            f"http://127.0.0.1:{mute.port}/",
            f"https://127.0.0.1:{untrusted.port}/",
            "https://no-such-host.invalid/",
        )
    ]

    for finding, words in zip(told, ["nothing is listening", "broke", "self-signed", "does not resolve"], strict=True):
        assert words in finding


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Peer.wait_for_hang_up, "no response in"),
        (lambda peer: peer.trickle(b"HTTP/1.1 401 Unauthorized\r\nX-Slow: "), "did not end in"),
    ],
)
def test_a_url_that_takes_longer_than_bandwidth_waits_is_wrong(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, script: Script, says: str
) -> None:
    monkeypatch.setattr(bandwidth, "BANDWIDTH_WAITS", 1)

    started = time.monotonic()
    found = examine(f"http://127.0.0.1:{serve(script).port}/")

    assert time.monotonic() - started < 5
    assert marks(found) == [Mark.WRONG, Mark.SKIPPED, Mark.SKIPPED]
    assert says in found[bandwidth.CHALLENGE].found


@pytest.mark.parametrize(
    ("url", "mark"),
    [
        ("https://receiver.example/callbacks/bandwidth", Mark.OK),
        ("https://receiver.example:8443/callbacks/bandwidth", Mark.OK),
        ("https://receiver.example:81/callbacks/bandwidth", Mark.WRONG),
        ("http://receiver.example/callbacks/bandwidth", Mark.WRONG),
        ("http://localhost:8080/callbacks/bandwidth", Mark.WARNING),
        ("https://10.0.0.7/callbacks/bandwidth", Mark.WARNING),
        ("https://[::1]/callbacks/bandwidth", Mark.WARNING),
    ],
)
def test_the_address_itself_is_judged(url: str, mark: Mark) -> None:
    assert bandwidth.check_address(url).mark is mark


@pytest.mark.parametrize(
    "text", ["", "receiver.example", "ftp://h/", "https://", "https://u:p@h/", "https://:p@h/", "https://h:x/"]
)
def test_what_is_no_url_is_not_tried(text: str) -> None:
    assert not bandwidth.is_callback_url(text)

"""The site of config/nginx in a real nginx, in front of real servers: TLS, limits, credentials, and two hosts."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme

from receiver.web.callbacks import PATH
from tests.support.builders import ALICE, CALLBACK_AUTH, make_element
from tests.support.debian import program
from tests.support.loop import select
from tests.support.postgres import free_port
from tests.support.processes import Api, environment, serving, simulating, wait_for

SITE = Path(__file__).parents[2] / "config" / "nginx" / "receiver.conf"

MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
user {user};
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log {folder}/access.log;
    include {folder}/site.conf;
}}
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def proxying(folder: Path, authority: trustme.CA, *backends: str) -> Iterator[tuple[Api, int]]:
    """Runs nginx with our site in front of these `host:port`; yields its https side, and the port of its http side."""
    folder.mkdir()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    https, http = free_port(), free_port()
    user = "root" if os.geteuid() == 0 else "nobody"  # the folder is ours alone
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
    (folder / "site.conf").write_text(site(folder, backends, https=https, http=http))
    arguments = [program("nginx"), "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with subprocess.Popen(arguments) as nginx, Api(f"https://localhost:{https}") as api:
        try:
            api.session.verify = str(folder / "authority.pem")
            wait_for(lambda: listens(https), "nginx to listen")
            yield api, http
        except BaseException as error:
            error.add_note((folder / "error.log").read_text())
            raise
        finally:
            nginx.send_signal(signal.SIGTERM)


def site(folder: Path, backends: tuple[str, ...], *, https: int, http: int) -> str:
    """The site as it is shipped, for these backends and ports, with our certificate and without a syslog."""
    servers = "\n".join(f"    server {backend} max_fails=0;" for backend in backends)
    changes = {
        "    server 127.0.0.1:8080 max_fails=0;": servers,
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl http2;\n": "",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https} ssl http2;",
        "server_name receiver.example.com;": "server_name localhost;",
        "/etc/letsencrypt/live/receiver.example.com/fullchain.pem": f"{folder}/tls.pem",
        "/etc/letsencrypt/live/receiver.example.com/privkey.pem": f"{folder}/tls.pem",
        "syslog:server=unix:/dev/log,nohostname,tag=nginx_receiver": f"{folder}/error.log",
    }
    text = SITE.read_text()
    for shipped, changed in changes.items():
        assert shipped in text, shipped
        text = text.replace(shipped, changed)
    return text


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def address(api: Api) -> str:
    return urlsplit(api.url).netloc


def test_bandwidth_gets_in_through_the_site_as_it_is_shipped(
    tmp_path: Path, postgres_url: str, authority: trustme.CA
) -> None:
    with (
        serving(tmp_path, environment(postgres_url)) as (_, api),
        proxying(tmp_path / "nginx", authority, address(api)) as (front, http),
    ):
        challenge = front.call("POST", "/callbacks/bandwidth", data=b"", auth=("", ""))
        assert (challenge.status_code, challenge.headers["WWW-Authenticate"][:12]) == (401, "Basic realm=")
        assert front.callback(make_element("delivered", ALICE)).json()["recorded"] == 1
        assert front.get("/messages")["messages"] == []
        answer = front.call("GET", "/health/ready", headers={})
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert answer.headers["Server"] == "nginx"
        plain = requests.get(f"http://127.0.0.1:{http}/messages", headers={"Host": "localhost"}, timeout=10)
        assert (plain.status_code, "Location" in plain.headers) == (403, False)


def test_a_body_that_is_too_long_is_refused_and_strangers_with_long_bodies_shut_nobody_out(
    tmp_path: Path, postgres_url: str, authority: trustme.CA
) -> None:
    """The service hangs up on a stranger without reading the body: nginx passes its 401 on, or sees a broken pipe."""
    longest = b"[" + b" " * (4 * 2**20 - 2) + b"]"
    with (
        serving(tmp_path, environment(postgres_url)) as (_, api),
        proxying(tmp_path / "nginx", authority, address(api)) as (front, _),
    ):

        def status(body: bytes, auth: tuple[str, str]) -> int:
            return front.call("POST", "/callbacks/bandwidth", data=body, auth=auth).status_code

        assert status(longest + b" ", CALLBACK_AUTH) == 413
        assert status(longest, CALLBACK_AUTH) == 200
        for number in range(20):
            assert status(longest, ("some", "body")) in (401, 502)
            assert status(b"[]", CALLBACK_AUTH) == 200, number


def test_old_tls_is_not_spoken(tmp_path: Path, authority: trustme.CA) -> None:
    with proxying(tmp_path / "nginx", authority, "127.0.0.1:9") as (front, _):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        port = urlsplit(front.url).port
        with socket.create_connection(("localhost", port), timeout=10) as connection, pytest.raises(ssl.SSLError):
            old.wrap_socket(connection)


def test_a_host_that_is_killed_loses_no_callback(tmp_path: Path, postgres_url: str, authority: trustme.CA) -> None:
    """The connections of a killed host break in the middle of requests: each is passed on to the other host."""
    settings = environment(postgres_url)
    with ExitStack() as stack:
        (first, one), (_, two) = [stack.enter_context(serving(tmp_path, settings)) for _ in range(2)]
        front, _ = stack.enter_context(proxying(tmp_path / "nginx", authority, address(one), address(two)))

        def post(number: int) -> tuple[int, int]:
            if number == 100:
                first.kill()
            with Api(front.url) as mine:
                mine.session.verify = front.session.verify
                return number, mine.callback(make_element("sent", ALICE, message_id=f"id-{number}")).status_code

        with ThreadPoolExecutor(8) as clients:
            answers = dict(clients.map(post, range(300)))
        assert set(answers.values()) == {200}
        stored = select(postgres_url, "SELECT count(*) FROM events")
        assert stored == [(300,)]


def test_a_send_whose_host_is_killed_is_not_repeated_at_the_other(
    tmp_path: Path, postgres_url: str, authority: trustme.CA
) -> None:
    """nginx passes a callback on to the next host, but never what may have been sent."""
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(tmp_path))
        settings = environment(postgres_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=30.0)
        hosts: dict[str, Any] = {}
        for _ in range(2):
            child, api = stack.enter_context(serving(tmp_path, settings))
            hosts[address(api)] = child
        front, _ = stack.enter_context(proxying(tmp_path / "nginx", authority, *hosts))
        simulator.switch(accident={"at": "accepted", "do": "hold"}, times=1)
        with ThreadPoolExecutor(1) as client:
            sent = client.submit(front.send, ALICE)
            simulator.wait_held()
            for child in hosts.values():
                if sending(child, simulator.port):
                    child.kill()
            answer = sent.result()
        assert answer.status_code == 502
        simulator.release()
        assert len(simulator.recorded()) == 1
        assert select(postgres_url, "SELECT count(*) FROM messages") == [(1,)]


def sending(child: Any, port: int) -> bool:
    """Whether a process of that server has a connection to the simulator."""
    connections = [each for process in child.left_behind() for each in process.net_connections("tcp")]
    return any(each.raddr and each.raddr.port == port and each.status == "ESTABLISHED" for each in connections)


def test_no_log_of_nginx_holds_what_somebody_asked_for(tmp_path: Path, authority: trustme.CA) -> None:
    """While no host responds nginx logs every request; Debian's nginx.conf has an access log."""
    folder = tmp_path / "nginx"
    with proxying(folder, authority, "127.0.0.1:9") as (front, http):
        asked = f"/messages?to=%2B{ALICE[1:]}"
        assert front.call("GET", asked).status_code == 502
        assert front.callback(make_element("delivered", ALICE)).status_code == 502
        plain = requests.get(f"http://127.0.0.1:{http}{asked}", headers={"Host": "localhost"}, timeout=10)
        assert plain.status_code == 403
    written = "".join(file.read_text() for file in folder.glob("*.log"))
    assert "POST /callbacks/bandwidth" in written
    assert ALICE[1:] not in written


def test_the_callback_route_of_the_site_is_that_of_the_service() -> None:
    assert f"location = {PATH} {{" in SITE.read_text()

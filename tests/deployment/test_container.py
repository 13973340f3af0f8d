"""The image, and the services of the compose file: built, run and stopped."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from receiver.database.database import Database
from receiver.settings import FILE_VARIABLES, NAMES, SECRETS
from tests.support import containers, pages
from tests.support.builders import ALICE, API_KEY, BOB, CALLBACK_AUTH, CLIENT_ID, CLIENT_SECRET, SENDER
from tests.support.containers import COMPOSE, CONTAINERFILE, LIMITS, ON_HOST, Podman
from tests.support.postgres import PostgresServer
from tests.support.processes import Api, faults, invoke, simulating, wait_for
from tests.support.queue_steps import enqueue

PORTS = (8080, 9100)
"""The ports of the service and of the worker's metrics."""


def test_the_compose_file_gives_every_secret_as_a_file_and_holds_none() -> None:
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))

    for name, service in compose["services"].items():
        given = service["environment"]
        assert not set(given) & set(SECRETS), name
        files = {variable: path for variable, path in given.items() if variable.endswith("_FILE")}
        assert {path.removeprefix("/run/secrets/") for path in files.values()} == set(service["secrets"]), name
    for name, service in containers.services().items():
        assert set(service["environment"]) <= set(NAMES), name
        assert set(service["secrets"]) == {
            each.removesuffix("_FILE").lower() for each in service["environment"] if each in FILE_VARIABLES
        }
    assert {Path(each["file"]).parent.name for each in compose["secrets"].values()} == {"secrets"}


def test_the_migration_ends_before_service_and_worker_begin() -> None:
    services = containers.services()

    assert set(services) == {"migrate", "service", "worker"}
    for name in ("service", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert services[name]["restart"] == "unless-stopped"
    assert services["migrate"]["depends_on"]["database"] == {"condition": "service_healthy"}
    assert services["migrate"]["restart"] == "no"


def test_a_value_that_is_missing_in_env_is_named() -> None:
    assert containers.interpolate("${A:-}${B:-b}${C:?}", {"C": "c"}) == "bc"
    with pytest.raises(AssertionError, match="A: write it"):
        containers.interpolate("${A:?write it}", {"A": ""})


def test_the_containerfile_has_two_stages_one_user_and_commands_in_exec_form() -> None:
    text = CONTAINERFILE.read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    final = words[[index for index, (word, _) in enumerate(words) if word == "FROM"][-1] :]

    assert [rest for word, rest in words if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
    assert [rest for word, rest in final if word == "USER"] == ["10001:10001"]
    commands = [rest.partition("CMD ")[2] if word == "HEALTHCHECK" else rest for word, rest in final]
    executed = [
        text for (word, _), text in zip(final, commands, strict=True) if word in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
    ]
    assert len(executed) == 3
    assert all(isinstance(json.loads(each), list) for each in executed)
    assert not re.search(r"https?://|ADD |RUN .*\b(curl|wget|apt)", text)


def test_the_commands_of_the_page_write_every_secret_that_the_compose_file_names(tmp_path: Path) -> None:
    (example,) = pages.OPERATIONS.section("Containers").examples("sh")
    folder = tmp_path / "config" / "container"
    folder.mkdir(parents=True)
    script = "editor() { echo client-secret > $1; }\n" + example.partition("docker compose")[0]
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, timeout=60)

    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    named = {name: folder / each["file"] for name, each in compose["secrets"].items()}
    assert set(named.values()) == set((folder / "secrets").iterdir())
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    environment = {f"{name.upper()}_FILE": str(path) for name, path in named.items() if name != "database_password"}
    shown = invoke("config", environment=environment | {"BANDWIDTH_CLIENT_ID": "client"})
    assert shown.exit_code == 0, shown.output
    assert "DATABASE_URL=postgresql+psycopg://receiver:***@database/receiver\n" in shown.output
    assert named["database_password"].read_text().strip() in named["database_url"].read_text()


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Podman with the image. The path of its folder may have 50 characters, which pytest's own folders exceed."""
    with TemporaryDirectory(prefix="podman-") as folder, closing(Podman(Path(folder))) as podman:
        podman.build()
        yield podman


@pytest.mark.outside
@pytest.mark.parametrize("user", [None, "54321:0"], ids=["own user", "any user"])
def test_the_services_run_read_only_without_root_and_stop_in_time(
    podman: Podman, tmp_path: Path, user: str | None
) -> None:
    for port in PORTS:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} of this machine is in use")
    services = containers.services()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    with ExitStack() as stack:
        simulator = stack.enter_context(
            simulating(tmp_path, callback_url=f"http://127.0.0.1:{PORTS[0]}/callbacks/bandwidth")
        )
        server = stack.enter_context(PostgresServer(fsync=False))
        texts = {
            "database_url": server.create_database("receiver").replace("+psycopg", ""),
            "bandwidth_client_secret": CLIENT_SECRET,
            "callback_credentials": ":".join(CALLBACK_AUTH),
            "api_keys": f"app:{API_KEY}",
        }
        for name, text in texts.items():
            (secrets / name).write_text(f"{text}\n")
        values = {
            "BANDWIDTH_ACCOUNT_ID": "5000000",
            "BANDWIDTH_CLIENT_ID": CLIENT_ID,
            "BANDWIDTH_APPLICATION_ID": "93de2206-9669-4e07-948d-329f4b722ee2",
            "BANDWIDTH_FROM": SENDER,
            "BANDWIDTH_API_URL": simulator.api_url,
            "BANDWIDTH_TOKEN_URL": f"{simulator.root}/api/v1/oauth2/token",
        }
        given = {name: containers.options(each, values, secrets) for name, each in services.items()}
        given = {name: each + ([f"--user={user}"] if user else []) for name, each in given.items()}

        podman("run", "--rm", *given["migrate"], containers.IMAGE, *services["migrate"]["command"])
        service = stack.enter_context(podman.running("service", given["service"]))
        worker = stack.enter_context(podman.running("worker", given["worker"], *services["worker"]["command"]))
        api = stack.enter_context(Api(f"http://127.0.0.1:{PORTS[0]}"))
        wait_for(api.is_ready, "the service")
        for each in (service, worker):
            wait_for(each.is_healthy, f"the health of {each.name}")

        sent = api.send(ALICE, BOB).json()["tag"]
        queued = api.queue(ALICE, BOB)
        for tag in (sent, queued):
            wait_for(lambda tag=tag: api.message(tag)["complete"], "the outcomes")
            assert {each["status"] for each in api.message(tag)["recipients"]} == {"delivered"}

        for each in (service, worker):
            assert each.execute("python3", "-c", f"import os; exit((os.getuid(), os.getgid()) != {ids(user)})") == 0
            assert each.execute("python3", "-c", "open('/written', 'w')") == 1
            inspected = each.inspect()
            assert inspected["HostConfig"]["ReadonlyRootfs"] is True
            assert not inspected["EffectiveCaps"]
            shown = each.output + json.dumps(inspected["Config"])
            assert [name for name, text in texts.items() if text in shown] == []

        for each in (service, worker):
            code, seconds = each.stop()
            assert (code, f"{each.name} stopped".replace("service", "server") in each.output) == (0, True), each.output
            assert seconds < 30
            assert faults(each.output) == 0


def ids(user: str | None) -> tuple[int, ...]:
    return tuple(map(int, (user or "10001:10001").split(":")))


@pytest.mark.outside
def test_a_container_without_a_database_says_so_and_a_sick_one_is_unhealthy(podman: Podman) -> None:
    ended = podman("run", "--rm", "--read-only", *ON_HOST, containers.IMAGE, "migrate", check=False)
    assert ended.returncode == 1
    assert "receiver.sqlite3" in ended.stderr

    with podman.running("sick", ["--read-only", "--network=none", *LIMITS], "simulate") as sick:
        wait_for(lambda: "BANDWIDTH_API_URL" in sick.output, "the simulator")
        assert sick.execute("health", "8090", "/simulator/counts") == 0
        assert sick.execute("health", "8090", "/nothing") == 1
        assert sick.execute("health", "8080", "/health/live") == 1


@pytest.mark.outside
def test_the_first_process_of_a_container_ends_at_sigterm_whatever_it_does(podman: Podman, tmp_path: Path) -> None:
    with PostgresServer(fsync=False) as server:
        url = server.create_database("receiver")
        options = ["--read-only", f"--env=DATABASE_URL={url}", "--stop-timeout=30", *ON_HOST]
        podman("run", "--rm", *options, containers.IMAGE, "migrate")
        with Database(url) as database:
            enqueue(database, ALICE, reference="lunch")
        with podman.running("watch", options, "watch", "lunch") as watch:
            wait_for(lambda: watch.output, "its first line")
            code, seconds = watch.stop()
    assert code == 130
    assert seconds < 15

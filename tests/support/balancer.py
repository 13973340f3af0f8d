"""A real nginx that spreads requests over several hosts, configured as docs/operations.md says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.debian import program
from tests.support.postgres import free_port
from tests.support.processes import GRACE, Api, wait_for

CONFIGURATION = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    upstream receiver {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 5m;
        location / {{
            proxy_pass http://receiver;
            proxy_connect_timeout 2s;
        }}
    }}
}}
"""


@contextmanager
def balancing(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """Runs a load balancer in front of these ports; yields its own port."""
    port = free_port()
    file = folder / "nginx.conf"
    servers = "\n        ".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    user = "user root;" if os.geteuid() == 0 else ""  # which may enter the test's folder
    file.write_text(CONFIGURATION.format(user=user, folder=folder, servers=servers, port=port))
    with (
        (folder / "nginx.out").open("wb") as output,
        subprocess.Popen([program("nginx"), "-c", file, "-p", folder], stderr=output, start_new_session=True) as nginx,
        Api(f"http://127.0.0.1:{port}") as api,
    ):
        try:
            wait_for(lambda: nginx.poll() is not None or api.is_ready(), "nginx to answer")
            assert nginx.poll() is None, (folder / "nginx.out").read_text()
            yield port
        finally:
            nginx.terminate()
            nginx.wait(GRACE)

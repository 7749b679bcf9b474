"""A fleet on loopback that answers what a test tells it, and a runner folder."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

IMAGE = Path(__file__).parents[2] / "runner_image"
TICKET = "ticket-0123456789abcdef"


class Fleet:
    """Answers claims from a list (the last one again and again) and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = [(200, {})]
        self.requests: list[dict[str, Any]] = []
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fleet.requests.append(
                    {"path": self.path, "headers": dict(self.headers), "body": body}
                )
                status, headers = fleet.answers[0]
                if len(fleet.answers) > 1:
                    fleet.answers.pop(0)
                if status == 0:  # hang up without a word
                    self.close_connection = True
                    return
                answer = {"encoded_jit_config": "eyJqaXQiOjF9/+==", "events_token": "ev-tok_1.x"}
                text = json.dumps(answer if status == 200 else {"message": "no"}).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    yield fleet
    fleet.server.shutdown()
    fleet.server.server_close()


class Machine:
    """A folder with a `run.sh` of the test's, a PATH to put stand-ins on, and the entrypoint."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        self.started: list[subprocess.Popen[str]] = []
        self.script(self.home / "run.sh", 'env -0 > "$RUNNER_HOME/environ"; echo "$@" > args')

    def script(self, path: Path, body: str) -> None:
        path.write_text(f"#!/usr/bin/env bash\n{body}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def put(self, name: str, body: str) -> None:
        self.script(self.bin / name, body)

    def environment(self, **extra: str) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home), "RUNNER_HOME": str(self.home), **extra}

    def start(self, fleet: Fleet, **extra: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["bash", str(IMAGE / "entrypoint.sh")],
            env=self.environment(
                **{
                    "FLEET_URL": fleet.url,
                    "RUNNER_ID": "fleet-7-1",
                    "RUNNER_TICKET": TICKET,
                    "RUNNER_LABELS": "self-hosted",
                    **extra,
                }
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, fleet: Fleet, **extra: str) -> tuple[int, str]:
        process = self.start(fleet, **extra)
        _, complaints = process.communicate(timeout=20)
        return process.returncode, complaints

    def handed_over(self) -> dict[str, str]:
        """The environment that run.sh got."""
        pairs = (self.home / "environ").read_text(encoding="utf-8").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if pair)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

"""A fleet on loopback that answers what a test tells it, and a runner folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fleet_runtime.runner.api import NOT_THE_TASK
from tests.waiting import PATIENCE_SECONDS

IMAGE = Path(__file__).parents[2] / "runner_image"
REGION = "eu-west-3"
ACCESS_KEY, SESSION_TOKEN = "ASIAEXAMPLE", "IQoJb3JpZ2luX2VjEJr//+8=="
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AUTHORIZATION = "token-0123456789abcdef"
"""What the address of the credentials is told."""
HANG_UP, SILENCE, FORBIDDEN = 0, -1, -403
"""Instead of a status: the connection ends without a word, or stays open without one, or API
Gateway itself refuses."""


class Fleet:
    """Answers claims from a list (the last one again and again) and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = [(200, {})]
        self.requests: list[dict[str, Any]] = []
        self.tunnels = 0
        self.forbidden = "Forbidden"
        self.secret_key = SECRET_KEY
        self.refusals_of_credentials = 0
        self.asked_for_credentials: list[str] = []
        self.over = threading.Event()
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fleet.asked_for_credentials.append(self.path)
                refused = self.headers["Authorization"] != AUTHORIZATION
                if fleet.refusals_of_credentials:
                    fleet.refusals_of_credentials -= 1
                    refused = True
                self._say(403 if refused else 200, {} if refused else fleet.lent(), {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fleet.requests.append(
                    {"path": self.path, "headers": dict(self.headers), "body": body}
                )
                status, headers = fleet.answers[0]
                if len(fleet.answers) > 1:
                    fleet.answers.pop(0)
                if status in (HANG_UP, SILENCE):
                    self.close_connection = True
                    if status == SILENCE:
                        fleet.over.wait()
                    return
                if status == FORBIDDEN:
                    self._say(403, {"message": fleet.forbidden}, headers)
                    return
                answer = {"encoded_jit_config": "eyJqaXQiOjF9/+==", "events_token": "ev-tok_1.x"}
                refusal = {"message": "no", **({"code": NOT_THE_TASK} if status == 403 else {})}
                self._say(status, answer if status == 200 else refusal, headers)

            def do_CONNECT(self) -> None:
                """As a proxy in front of itself, which answers before the fleet does."""
                fleet.tunnels += 1
                self.send_response(200, "Connection established")
                self.end_headers()

            def _say(self, status: int, answer: dict[str, str], headers: dict[str, str]) -> None:
                # as API Gateway and ECS write it
                text = json.dumps(answer, separators=(",", ":")).encode()
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

    def lent(self) -> dict[str, str]:
        """The credentials of the task's role, as ECS hands them out."""
        return {
            "RoleArn": "arn:aws:iam::123456789012:role/runner",
            "AccessKeyId": ACCESS_KEY,
            "SecretAccessKey": self.secret_key,
            "Token": SESSION_TOKEN,
            "Expiration": "2026-06-15T19:25:01Z",
        }

    def signature_of(self, request: dict[str, Any]) -> str:
        """What botocore, AWS's own, would put into the header of such a request."""
        sent = request["headers"]
        again = AWSRequest(
            "POST",
            f"{self.url}{request['path']}",
            data=request["body"],
            headers={"Content-Type": sent["Content-Type"], "X-Amz-Date": sent["X-Amz-Date"]},
        )
        again.headers["X-Amz-Security-Token"] = SESSION_TOKEN
        again.context["timestamp"] = sent["X-Amz-Date"]
        credentials = Credentials(ACCESS_KEY, self.secret_key, SESSION_TOKEN)
        signer = SigV4Auth(credentials, "execute-api", REGION)
        canonical = signer.canonical_request(again)
        signature = signer.signature(signer.string_to_sign(again, canonical), again)
        signed = signer.signed_headers(signer.headers_to_sign(again))
        scope = signer.scope(again)
        return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={signature}"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    yield fleet
    fleet.over.set()
    fleet.server.shutdown()
    fleet.server.server_close()


def can(*command: str) -> bool:
    """Whether this machine can do that."""
    return (
        shutil.which(command[0]) is not None
        and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    )


def not_here(why: str) -> NoReturn:
    """Skip what this machine cannot do; fail if nobody is going to look at skips."""
    if os.environ.get("TEST_NO_SKIPS") == "on":
        pytest.fail(f"{why}, and TEST_NO_SKIPS is on: nothing else tests this")
    pytest.skip(why)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def left_of(process: subprocess.Popen[bytes]) -> list[str]:
    """The processes of its session, by what the kernel says of them."""
    return [
        said
        for folder in Path("/proc").glob("[0-9]*")
        if (said := stat_of(folder)) and f" {process.pid} " in said.rpartition(")")[2]
    ]


def stat_of(folder: Path) -> str:
    """What the kernel says of a process, by its folder in /proc; empty if it is gone."""
    try:
        return (folder / "stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Machine:
    """A folder with a `run.sh` of the test's, a PATH to put stand-ins on, and the entrypoint."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.home.mkdir()
        self.bin.mkdir()
        self.started: list[subprocess.Popen[bytes]] = []
        self.script(self.home / "run.sh", 'env -0 > "$RUNNER_HOME/environ"; echo "$@" > args')

    def script(self, path: Path, body: str) -> None:
        path.write_text(f"#!/usr/bin/env bash\n{body}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def put(self, name: str, body: str) -> None:
        self.script(self.bin / name, body)

    def credentials(self, url: str) -> None:
        """As a claim leaves them for the hooks and the heartbeat."""
        (self.home / ".fleet-events").write_text(
            f'url = "{url}/runners/r-1/events"\nheader = "Authorization: Bearer ev"\n',
            encoding="utf-8",
        )

    def behind(self, proxy: Fleet) -> dict[str, str]:
        """What has curl go through a tunnel, as it does for each https address behind a proxy."""
        (self.home / ".curlrc").write_text("proxytunnel\n", encoding="utf-8")
        return {"http_proxy": proxy.url, "no_proxy": ""}

    def copy_of_the_image(self) -> Path:
        """The image's scripts in a folder of their own, for a test to replace some."""
        return Path(shutil.copytree(IMAGE, self.home.parent / "image"))

    def image_that_beats(self, *, every: int) -> Path:
        """The same with another interval of its heartbeat, in seconds."""
        scripts = self.copy_of_the_image()
        entrypoint = scripts / "entrypoint.sh"
        text = entrypoint.read_text(encoding="utf-8")
        changed, found = re.subn(r"HEARTBEAT_SECONDS=\d+", f"HEARTBEAT_SECONDS={every}", text)
        assert found == 1
        entrypoint.write_text(changed, encoding="utf-8")
        return scripts

    def environment(self, **extra: str) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home), "RUNNER_HOME": str(self.home), **extra}

    def start(
        self, fleet: Fleet, *, image: Path = IMAGE, within: Sequence[str] = (), **extra: str
    ) -> subprocess.Popen[bytes]:
        """Starts the entrypoint as a task's first process, its complaints going to `log`.

        Args:
            fleet: the one to claim from.
            image: the folder of the scripts.
            within: a command that runs it, such as `unshare`.
            extra: environment.
        """
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*within, "bash", str(image / "entrypoint.sh")],
                env=self.environment(
                    **{
                        "FLEET_URL": fleet.url,
                        "RUNNER_ID": "fleet-7-1",
                        "FLEET_REGION": REGION,
                        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{fleet.url}/credentials",
                        "AWS_CONTAINER_AUTHORIZATION_TOKEN": AUTHORIZATION,
                        "RUNNER_LABELS": "self-hosted",
                        "RUNNER_CLASS_CAPABILITIES": "",
                        **extra,
                    }
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, fleet: Fleet, *, image: Path = IMAGE, **extra: str) -> tuple[int, str]:
        """The entrypoint's status and complaints, and with it ends all that it started."""
        process = self.start(fleet, image=image, **extra)
        status = process.wait(timeout=PATIENCE_SECONDS)
        self.end(process)
        return status, self.complaints()

    def complaints(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """What becomes of a container's other processes when its first one is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def handed_over(self) -> dict[str, str]:
        """The environment that run.sh got."""
        pairs = (self.home / "environ").read_text(encoding="utf-8").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if pair)


@pytest.fixture(scope="session", autouse=True)
def no_signal_ignored() -> None:
    """A container starts with no signal ignored, what a shell starts with `&` ignores SIGINT.

    A shell script that begins with a signal ignored cannot trap it (POSIX, `trap`).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.started:
        machine.end(process)

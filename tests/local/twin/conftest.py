"""A twin with a webhook receiver, and runners that are only a session."""

from __future__ import annotations

import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator.runner import Session
from cdk_runner_fleet.local.twin import GitHubTwin
from tests.waiting import PATIENCE_SECONDS, until

TOKEN = "token-of-the-fleet"
SECRET = "webhook-secret"
REPOSITORY = "octo/fleet"
ACTIONS = f"/repos/{REPOSITORY}/actions"


class Receiver:
    """Takes webhooks and keeps them in the order of arrival, while `answers` is set."""

    def __init__(self) -> None:
        self.status = 202
        self.answers = threading.Event()
        self.answers.set()
        self.taken: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                event = json.loads(body)
                receiver.answers.wait()
                receiver.taken.append({"headers": dict(self.headers), "body": body, "event": event})
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhook"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def actions(self, job_id: int | None = None) -> list[str]:
        """The actions of the events taken, of one job or of all."""
        return [
            each["event"]["action"]
            for each in self.taken
            if job_id in (None, each["event"]["workflow_job"]["id"])
        ]


class FakeRunner:
    """A runner's session without the runner."""

    def __init__(self, config: str) -> None:
        self.session = Session(json.loads(base64.b64decode(config)))

    def take(self) -> dict[str, Any]:
        """The job it is given, begun."""
        message = self.session.receive()
        assert message is not None
        assert message["type"] == "job", message
        self.session.send("started")
        return message

    def finish(self, conclusion: str = "success", **outputs: str) -> None:
        self.session.send("completed", conclusion=conclusion, outputs=outputs, steps=[])

    def work(self, conclusion: str = "success", **outputs: str) -> dict[str, Any]:
        job = self.take()
        self.finish(conclusion, **outputs)
        return job

    def die(self) -> None:
        """Ends as a killed process does: the kernel closes its connection."""
        self.session._lines.close()
        self.session._socket.close()


class GitHub:
    """The twin, its receiver and the ways to speak to it."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self.twin = GitHubTwin(
            repository=REPOSITORY,
            token=TOKEN,
            webhook_secret=SECRET,
            webhook_url=self.receiver.url,
            lost_after_seconds=0.05,
        )
        self.names = iter(range(1, 10_000))

    def call(
        self, method: str, path: str, body: object = None, *, token: str = TOKEN
    ) -> tuple[int, Any]:
        status, answer, _ = self.call_in_full(method, path, body, token=token)
        return status, answer

    def call_in_full(
        self, method: str, path: str, body: object = None, *, token: str = TOKEN
    ) -> tuple[int, Any, dict[str, str]]:
        data = (
            body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        )
        if token == TOKEN and path.startswith("/_twin/"):
            token = self.twin.control_token
        request = urllib.request.Request(
            self.twin.url + path,
            method=method,
            data=data,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                text, status, headers = answer.read(), answer.status, dict(answer.headers)
        except urllib.error.HTTPError as error:
            text, status, headers = error.read(), error.code, dict(error.headers)
        return status, json.loads(text) if text else None, headers

    def queue(self, yaml: str, **fields: object) -> int:
        status, answer = self.call(
            "POST", "/_twin/workflows", {"file_name": "ci.yml", "yaml": yaml, **fields}
        )
        assert status == 201, answer
        run_id: int = answer["run_id"]
        return run_id

    def run(self, run_id: int) -> dict[str, Any]:
        report: dict[str, Any] = self.call("GET", f"/_twin/runs/{run_id}")[1]
        return report

    def jobs(self, run_id: int) -> dict[str, dict[str, Any]]:
        return {job["name"]: job for job in self.run(run_id)["jobs"]}

    def config(self, *labels: str, name: str = "", scope: str = f"/repos/{REPOSITORY}") -> str:
        body = {
            "name": name or f"runner-{next(self.names)}",
            "runner_group_id": 1,
            "labels": labels or ["self-hosted"],
        }
        status, answer = self.call("POST", f"{scope}/actions/runners/generate-jitconfig", body)
        assert status == 201, answer
        config: str = answer["encoded_jit_config"]
        return config

    def runner(self, *labels: str, name: str = "", **where: str) -> FakeRunner:
        return FakeRunner(self.config(*labels, name=name, **where))

    def until(self, holds: Callable[[], object]) -> None:
        until(holds, lambda: self.twin.deliveries)

    def until_completed(self, run_id: int) -> dict[str, Any]:
        self.until(lambda: self.run(run_id)["status"] == "completed")
        return self.run(run_id)


@pytest.fixture
def github() -> Iterator[GitHub]:
    github = GitHub()
    with github.twin:
        yield github
    github.receiver.server.shutdown()
    github.receiver.server.server_close()

"""The twin's HTTP side: GitHub's REST API, the runners' sessions and a control API of its own.

GitHub's routes answer with the status codes its documentation gives. `/_twin/…` is ours:

    POST /_twin/workflows              {"file_name", "yaml"} and, optional, "workspace" (a folder
                                       of this machine that stands for the checkout),
                                       "protected_environments" (names)
    GET  /_twin/runs/{id}              the run with its jobs and the end of their logs
    POST /_twin/jobs/{id}/cancel       POST /_twin/jobs/{id}/approve
    GET  /_twin/deliveries             webhook deliveries and their answers
    POST /_twin/faults                 {"webhook": {WebhookFault}} or {"api": {ApiFault}}
    GET  /_twin/runners/{id}/session   a runner's session, see `Handler.session`
"""

from __future__ import annotations

import base64
import json
import re
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cdk_runner_fleet.local.twin.board import NameTakenError, RunnerBusyError
from cdk_runner_fleet.local.twin.faults import ApiFault, WebhookFault
from cdk_runner_fleet.local.twin.records import Job, Run, Runner
from cdk_runner_fleet.local.twin.workflows import WorkflowError, read_workflow

if TYPE_CHECKING:
    from cdk_runner_fleet.local.twin.server import TwinServer

__all__ = ["Handler"]

MAX_LABELS = 100  # @octokit/openapi: generate-jitconfig, labels.maxItems
MAX_LABEL = 256  # actions/runner, Validators.cs
MAX_NAME = 64  # actions/runner, Constants.cs
IDLE_SECONDS = 30.0  # a kept-alive connection without a request
RATE_LIMIT = 5000

Answer = tuple[int, Any]


class _RefusalError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class Handler(BaseHTTPRequestHandler):
    server: TwinServer
    protocol_version = "HTTP/1.1"
    server_version = "github-twin"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_GET  # noqa: N815  (the base class's names)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the fleet's own output is what a user wants to see."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.path_only, self.query = url.path.rstrip("/"), parse_qs(url.query)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        twin = self.server.twin
        self.board, self.payloads = twin.board, twin.payloads
        try:
            name, arguments = self._route()
            if name == "session":
                self.session(**arguments)
                return
            with self.board.lock:
                status, answer = getattr(self, name)(**arguments)
            headers: dict[str, str] = {}
        except _RefusalError as refusal:
            status, headers = refusal.status, refusal.headers
            answer = {
                "message": str(refusal),
                "documentation_url": "https://docs.github.com/rest",
                "status": str(status),
            }
        self._answer(status, answer, headers)

    def _route(self) -> tuple[str, dict[str, Any]]:
        """The method that answers, its arguments; the checks every REST request has to pass."""
        if not self.path_only.startswith("/_twin/"):
            self._admit()
        for method, pattern, name in _ROUTES:
            match = pattern.fullmatch(self.path_only)
            if match and method == self.command:
                groups = match.groupdict()
                if "repository" in groups:
                    repository = groups.pop("repository")
                    if repository.casefold() != self.server.twin.repository.casefold():
                        raise _RefusalError(404, "Not Found")
                return name, {key: int(value) for key, value in groups.items()}
        raise _RefusalError(404, "Not Found")

    def _admit(self) -> None:
        twin = self.server.twin
        fault = twin.api_faults.take(self.command, self.path_only)
        if fault:
            raise _RefusalError(fault.status, fault.message, fault.headers)
        if self.headers.get("Authorization") not in (f"Bearer {twin.token}", f"token {twin.token}"):
            raise _RefusalError(401, "Bad credentials")
        twin.requests_served += 1

    def _answer(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        body = b"" if status == HTTPStatus.NO_CONTENT else json.dumps(answer).encode()
        used = min(self.server.twin.requests_served, RATE_LIMIT)
        headers = {
            "x-ratelimit-limit": str(RATE_LIMIT),
            "x-ratelimit-remaining": str(RATE_LIMIT - used),
            "x-ratelimit-used": str(used),
            "x-ratelimit-reset": str(int(time.time()) + 3600),
            "x-ratelimit-resource": "core",
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(body)),
            **headers,
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _json(self) -> dict[str, Any]:
        try:
            body = json.loads(self.body)
        except ValueError as error:
            raise _RefusalError(400, "Problems parsing JSON") from error
        if not isinstance(body, dict):
            raise _RefusalError(400, "Body should be a JSON object")
        return body

    def _page(self, key: str, items: list[dict[str, Any]]) -> Answer:
        try:
            size = min(max(int(self.query.get("per_page", ["30"])[0]), 1), 100)
            page = max(int(self.query.get("page", ["1"])[0]), 1)
        except ValueError as error:
            raise _RefusalError(422, "per_page and page must be numbers") from error
        first = (page - 1) * size
        return 200, {"total_count": len(items), key: items[first : first + size]}

    def _find_runner(self, runner_id: int) -> Runner:
        if runner_id not in self.board.runners:
            raise _RefusalError(404, "Not Found")
        return self.board.runners[runner_id]

    def _find_job(self, job_id: int) -> Job:
        if job_id not in self.board.jobs:
            raise _RefusalError(404, "Not Found")
        return self.board.jobs[job_id]

    def _find_run(self, run_id: int) -> Run:
        if run_id not in self.board.runs:
            raise _RefusalError(404, "Not Found")
        return self.board.runs[run_id]

    # GitHub's REST API

    def generate_jitconfig(self) -> Answer:
        body = self._json()
        name, labels, group = (body.get(key) for key in ("name", "labels", "runner_group_id"))
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
            raise _RefusalError(
                422, f"Invalid request.\n\n`name` must have 1-{MAX_NAME} characters"
            )
        if not isinstance(group, int) or isinstance(group, bool):
            raise _RefusalError(422, 'Invalid request.\n\n"runner_group_id" wasn\'t supplied.')
        if not isinstance(labels, list) or not 1 <= len(labels) <= MAX_LABELS:
            raise _RefusalError(422, f"Invalid request.\n\n`labels` must have 1-{MAX_LABELS} items")
        if not all(isinstance(label, str) and 1 <= len(label) <= MAX_LABEL for label in labels):
            raise _RefusalError(
                422, f"Invalid request.\n\na label must have 1-{MAX_LABEL} characters"
            )
        if group != 1:
            raise _RefusalError(404, "Not Found")  # a repository has the default group only
        try:
            runner = self.board.register(name=name, labels=labels)
        except NameTakenError as error:
            raise _RefusalError(
                409, f"Already exists - A runner with the name {name!r} already exists."
            ) from error
        config = {
            "twin": True,
            "url": self.server.twin.url,
            "runner_id": runner.id,
            "runner_name": runner.name,
            "token": runner.token,
            "labels": labels,
        }
        encoded = base64.b64encode(json.dumps(config).encode()).decode()
        return 201, {"runner": self.payloads.runner(runner), "encoded_jit_config": encoded}

    def list_runners(self) -> Answer:
        name = self.query.get("name", [None])[0]
        runners = [each for each in self.board.runners.values() if name in (None, each.name)]
        return self._page("runners", [self.payloads.runner(runner) for runner in runners])

    def get_runner(self, runner_id: int) -> Answer:
        return 200, self.payloads.runner(self._find_runner(runner_id))

    def delete_runner(self, runner_id: int) -> Answer:
        runner = self._find_runner(runner_id)
        try:
            self.board.remove(runner_id)
        except RunnerBusyError as error:
            raise _RefusalError(
                422, f'Runner "{runner.name}" is currently running a job and cannot be deleted.'
            ) from error
        return 204, None

    def get_job(self, job_id: int) -> Answer:
        return 200, self.payloads.job(self._find_job(job_id))

    def list_runs(self) -> Answer:
        wanted = self.query.get("status", [None])[0]
        runs = [
            run
            for run in reversed(self.board.runs.values())
            if wanted in (None, run.status, run.conclusion)
        ]
        return self._page("workflow_runs", [self.payloads.run(run) for run in runs])

    def list_jobs(self, run_id: int) -> Answer:
        run = self._find_run(run_id)
        return self._page("jobs", [self.payloads.job(job) for job in run.jobs])

    def rerun(self, run_id: int) -> Answer:
        if not self.board.rerun(self._find_run(run_id)):
            raise _RefusalError(403, "This workflow run cannot be rerun: it is still running")
        return 201, {}

    def cancel_run(self, run_id: int) -> Answer:
        run = self._find_run(run_id)
        if run.status == "completed":
            raise _RefusalError(409, "Cannot cancel a workflow run that is completed.")
        self.board.cancel_run(run)
        return 202, {}

    # The control API

    def queue_workflow(self) -> Answer:
        body = self._json()
        file_name = str(body.get("file_name") or "workflow.yml")
        try:
            workflow = read_workflow(str(body.get("yaml", "")), file_name=file_name)
        except WorkflowError as error:
            raise _RefusalError(422, str(error)) from error
        run = self.board.queue_run(
            workflow,
            file_name=file_name,
            workspace=body.get("workspace"),
            protected_environments=frozenset(body.get("protected_environments", [])),
        )
        return 201, {"run_id": run.id}

    def report_run(self, run_id: int) -> Answer:
        return 200, self.server.twin.run_report(self._find_run(run_id))

    def cancel_job(self, job_id: int) -> Answer:
        self.board.cancel(self._find_job(job_id))
        return 202, {}

    def approve_job(self, job_id: int) -> Answer:
        if not self.board.approve(self._find_job(job_id)):
            raise _RefusalError(409, "the job does not wait for an approval")
        return 202, {}

    def list_deliveries(self) -> Answer:
        return 200, [
            {
                "guid": each.guid,
                "action": each.action,
                "job_id": each.job_id,
                "status_code": each.status_code,
                "sent_at": each.sent_at,
            }
            for each in self.server.twin.deliveries
        ]

    def script_fault(self) -> Answer:
        body = self._json()
        try:
            if "webhook" in body:
                self.server.twin.webhook_faults.add(WebhookFault(**body["webhook"]))
            elif "api" in body:
                self.server.twin.api_faults.add(ApiFault(**body["api"]))
            else:
                raise _RefusalError(422, 'give {"webhook": …} or {"api": …}')
        except (TypeError, ValueError) as error:
            raise _RefusalError(422, str(error)) from error
        return 201, {}

    # Runner sessions

    def session(self, runner_id: int) -> None:
        """Turns the connection into a runner's session, one JSON object a line both ways.

        To the runner: `job`, `cancel`, `removed`. From it: `started`, `log`, `completed`. The
        connection's end is the runner's end: the twin needs no heartbeat to know it, so a hundred
        idle runners cost nothing.
        """
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.close_connection = True
        self.connection.settimeout(None)

        def send(message: dict[str, Any]) -> None:
            try:
                self.connection.sendall(json.dumps(message).encode() + b"\n")
                if message["type"] == "removed":
                    self.server.hang_up(self.connection)
            except OSError:  # the reader below sees the same end and tells the board
                return

        with self.board.lock:  # nothing may be sent before the answer's own head
            self.connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                b"Upgrade: twin-session\r\n\r\n"
            )
            runner = self.board.connect(runner_id, token=token, send=send)
            if runner is None:
                send({"type": "removed"})
                return
        self.server.sessions.add(self.connection)
        try:
            self._listen(runner)
        except OSError:  # reset by a runner that was killed
            pass
        finally:
            self.server.sessions.discard(self.connection)
            self.board.disconnect(runner)

    def _listen(self, runner: Runner) -> None:
        for line in self.rfile:
            message = json.loads(line)
            match message["type"]:
                case "started":
                    self.board.started(runner)
                case "log":
                    if runner.job:
                        runner.job.log.append(message["line"])
                case "completed":
                    self.board.completed(runner, message)


def _routes(*table: tuple[str, str, str]) -> list[tuple[str, re.Pattern[str], str]]:
    prefix = r"/repos/(?P<repository>[^/]+/[^/]+)/actions"
    return [
        (method, re.compile(path.replace("{actions}", prefix)), name)
        for method, path, name in table
    ]


_ROUTES = _routes(
    ("POST", "{actions}/runners/generate-jitconfig", "generate_jitconfig"),
    ("GET", "{actions}/runners", "list_runners"),
    ("GET", r"{actions}/runners/(?P<runner_id>\d+)", "get_runner"),
    ("DELETE", r"{actions}/runners/(?P<runner_id>\d+)", "delete_runner"),
    ("GET", r"{actions}/jobs/(?P<job_id>\d+)", "get_job"),
    ("GET", "{actions}/runs", "list_runs"),
    ("GET", r"{actions}/runs/(?P<run_id>\d+)/jobs", "list_jobs"),
    ("POST", r"{actions}/runs/(?P<run_id>\d+)/rerun", "rerun"),
    ("POST", r"{actions}/runs/(?P<run_id>\d+)/cancel", "cancel_run"),
    ("POST", "/_twin/workflows", "queue_workflow"),
    ("GET", r"/_twin/runs/(?P<run_id>\d+)", "report_run"),
    ("POST", r"/_twin/jobs/(?P<job_id>\d+)/cancel", "cancel_job"),
    ("POST", r"/_twin/jobs/(?P<job_id>\d+)/approve", "approve_job"),
    ("GET", "/_twin/deliveries", "list_deliveries"),
    ("POST", "/_twin/faults", "script_fault"),
    ("GET", r"/_twin/runners/(?P<runner_id>\d+)/session", "session"),
)

"""The twin's HTTP side: GitHub's REST API, the runners' sessions and a control API of its own.

GitHub's routes answer with the status codes its documentation gives. `/_twin/…` is ours:

    POST /_twin/workflows              {"file_name", "yaml"} and, optional, "workspace" (a folder
                                       of this machine that stands for the checkout),
                                       "protected_environments" (names)
    GET  /_twin/runs/{id}              the run with its jobs and the end of their logs
    POST /_twin/jobs/{id}/cancel       POST /_twin/jobs/{id}/approve
    GET  /_twin/deliveries             webhook deliveries and their answers
    POST /_twin/faults                 {"webhook": {WebhookFault}}, {"api": {ApiFault}} or
                                       {"runner": {RunnerFault}}
    GET  /_twin/runners/{id}/session   a runner's session, see `Handler.session`
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cdk_runner_fleet.local.twin.askers import Asker, AskerError, TwinApp
from cdk_runner_fleet.local.twin.board import NameTakenError, RunnerBusyError
from cdk_runner_fleet.local.twin.checks import ChecksError
from cdk_runner_fleet.local.twin.deliveries import HOOK_ID, Delivery
from cdk_runner_fleet.local.twin.faults import ApiFault, RunnerFault, WebhookFault
from cdk_runner_fleet.local.twin.payloads import HEAD_SHA
from cdk_runner_fleet.local.twin.records import Job, Run, Runner
from cdk_runner_fleet.local.twin.workflows import WorkflowError, read_workflow

if TYPE_CHECKING:
    from cdk_runner_fleet.local.twin.server import TwinServer

__all__ = ["Handler"]

MAX_LABELS = 100  # @octokit/openapi: generate-jitconfig, labels.maxItems
MAX_LABEL = 256  # actions/runner, Validators.cs
MAX_NAME = 64  # actions/runner, Constants.cs
DEPRECATIONS_API_VERSION = "2026-03-10"  # github.blog/changelog, 2026-09-03
IDLE_SECONDS = 30.0  # a kept-alive connection without a request

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
        self.lost_answer: ApiFault | None = None
        self.more_headers: dict[str, str] = {}
        self.asker = Asker(name="stranger")
        try:
            name, arguments = self._route()
            if name == "session":
                self.session(**arguments)
                return
            with self.board.lock:
                status, answer = getattr(self, name)(**arguments)
            headers = self.more_headers
            if self.lost_answer:
                raise _scripted(self.lost_answer)
        except _RefusalError as refusal:
            if not refusal.status:
                self.close_connection = True
                return
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
                if "scope" in groups:
                    self.scope = groups.pop("scope").casefold()
                    if self.scope not in self.server.twin.scopes:
                        raise _RefusalError(404, "Not Found")
                return name, {
                    key: int(value) if key.endswith("_id") else value
                    for key, value in groups.items()
                }
        raise _RefusalError(404, "Not Found")

    def _admit(self) -> None:
        twin = self.server.twin
        fault = twin.api_faults.take(self.command, self.path_only)
        if fault and not fault.applied:
            raise _scripted(fault)
        self.lost_answer = fault
        asker = twin.askers.find(self.headers.get("Authorization") or "")
        if asker is None:
            raise _RefusalError(401, "Bad credentials")
        self.asker = asker
        twin.requests_served += 1
        asker.hour.count()
        if asker.hour.used > twin.requests_an_hour:
            raise _RefusalError(403, f"API rate limit exceeded for {asker.name}.")
        if not asker.may(self.command, self.path_only):
            status, message = (403, "Resource not accessible by integration")
            if self.path_only.startswith("/app") or self.path_only.endswith("/installation"):
                status, message = 401, "A JSON web token could not be decoded"
            raise _RefusalError(status, message)

    def _answer(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        body = b"" if status == HTTPStatus.NO_CONTENT else json.dumps(answer).encode()
        tag = {}
        if self.command == "GET" and status == HTTPStatus.OK:
            tag = {"ETag": f'W/"{hashlib.sha256(body).hexdigest()}"'}
            if self.headers.get("If-None-Match") == tag["ETag"]:
                status, body = HTTPStatus.NOT_MODIFIED, b""
                self.asker.hour.used -= 1  # it does not count against the primary rate limit
        headers = {
            **self.server.twin.quota_headers(self.asker),
            **tag,
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
        runner = self.board.runners.get(runner_id)
        if runner is None or runner.scope != self.scope:
            raise _RefusalError(404, "Not Found")
        return runner

    def _groups(self) -> dict[int, str]:
        """The groups of the scope's runners by id: a repository has the default one only."""
        names = self.server.twin.runner_groups
        return dict(enumerate(names[:1] if self.scope.startswith("/repos/") else names, start=1))

    def _app(self) -> TwinApp:
        assert self.asker.app is not None  # noqa: S101 - nobody else may ask for these
        return self.asker.app

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
        if group not in self._groups():
            raise _RefusalError(404, "Not Found")
        try:
            runner = self.board.register(name=name, labels=labels)
            runner.scope, runner.group_id = self.scope, group
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
        runners = [
            each
            for each in self.board.runners.values()
            if each.scope == self.scope and name in (None, each.name)
        ]
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

    def list_runner_downloads(self) -> Answer:
        archives = self.server.twin.releases.archives()
        return 200, [self.payloads.runner_application(archive) for archive in archives]

    def get_runner_deprecation(self, version: str) -> Answer:
        deprecation = self.server.twin.releases.deprecations.get(version)
        is_known = self.headers.get("X-GitHub-Api-Version") == DEPRECATIONS_API_VERSION
        if deprecation is None or not is_known:
            raise _RefusalError(404, "Not Found")
        return 200, self.payloads.runner_deprecation(version, deprecation)

    def list_runner_groups(self) -> Answer:
        if self.scope.startswith("/repos/"):
            raise _RefusalError(404, "Not Found")
        groups = self._groups().items()
        return self._page("runner_groups", [self.payloads.group(*group) for group in groups])

    def get_app(self) -> Answer:
        return 200, self.payloads.app(self._app().app_id)

    def list_installations(self) -> Answer:
        return 200, [self.payloads.installation(*each) for each in self._installations()]

    def get_installation(self) -> Answer:
        return 200, self.payloads.installation(*self._installations()[0])

    def create_access_token(self, installation_id: int) -> Answer:
        if installation_id not in [number for number, _ in self._installations()]:
            raise _RefusalError(404, "Not Found")
        body = self._json() if self.body else {}
        try:
            return 201, self.server.twin.askers.new_token(self._app(), body)
        except AskerError as error:
            raise _RefusalError(422, str(error)) from error

    def _installations(self) -> list[tuple[int, str]]:
        own = self._app().app_id
        installed = self.server.twin.askers.installations.items()
        return [(number, app.app_id) for number, app in installed if app.app_id == own]

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

    def get_run(self, run_id: int) -> Answer:
        return 200, self.payloads.run(self._find_run(run_id))

    def list_repositories(self) -> Answer:
        return 200, [self.payloads.repository()]

    def list_hooks(self) -> Answer:
        hook = self.payloads.hook(scope=self.scope, url=self.server.twin.webhook_url)
        return 200, [hook]

    def get_app_hook(self) -> Answer:
        return 200, self.payloads.hook_config(url=self.server.twin.webhook_url)

    def list_hook_deliveries(self, hook_id: int = HOOK_ID) -> Answer:
        try:
            size = min(max(int(self.query.get("per_page", ["30"])[0]), 1), 100)
            before = int(self.query.get("cursor", ["0"])[0])
        except ValueError as error:
            raise _RefusalError(400, "Invalid cursor") from error
        sent = [each for each in self._sent(hook_id) if not before or each.id < before]
        page = sent[:size]
        if len(sent) > size:
            following = f"{self.server.twin.url}{self.path_only}?per_page={size}"
            self.more_headers["Link"] = f'<{following}&cursor={page[-1].id}>; rel="next"'
        return 200, [self.payloads.delivery(each) for each in page]

    def redeliver(self, delivery_id: int, hook_id: int = HOOK_ID) -> Answer:
        found = [each for each in self._sent(hook_id) if each.id == delivery_id]
        if not found:
            raise _RefusalError(404, "Not Found")
        self.server.twin.hook_deliveries.deliver_again(found[0])
        return 202, {}

    def _sent(self, hook_id: int) -> list[Delivery]:
        if hook_id != HOOK_ID:
            raise _RefusalError(404, "Not Found")
        return self.server.twin.hook_deliveries.sent

    def create_check_run(self) -> Answer:
        app = self.asker.app
        try:
            return 201, self.server.twin.checks.add_run(
                self._json(), app_id=app.app_id if app else None
            )
        except ChecksError as error:
            raise _RefusalError(error.status, str(error)) from error

    def create_status(self, sha: str) -> Answer:
        try:
            return 201, self.server.twin.checks.add_status(sha, self._json())
        except ChecksError as error:
            raise _RefusalError(error.status, str(error)) from error

    def list_check_runs(self, sha: str) -> Answer:
        runs = [each for each in self.server.twin.checks.runs if each["head_sha"] == sha]
        return self._page("check_runs", runs)

    def list_statuses(self, sha: str) -> Answer:
        return 200, self.server.twin.checks.statuses[::-1] if sha == HEAD_SHA else []

    def rerun_job(self, job_id: int) -> Answer:
        if not self.board.rerun_job(self._find_job(job_id)):
            raise _RefusalError(403, "The workflow run containing this job is already running")
        return 201, {}

    def force_cancel(self, run_id: int) -> Answer:
        run = self._find_run(run_id)
        if run.status == "completed":
            raise _RefusalError(409, "Cannot cancel a workflow run that is completed.")
        self.board.force_cancel(run)
        return 202, {}

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
                "redelivery": each.redelivery,
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
            elif "runner" in body:
                self.board.faults.add(RunnerFault(**body["runner"]))
            else:
                raise _RefusalError(422, 'give {"webhook": …}, {"api": …} or {"runner": …}')
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


def _scripted(fault: ApiFault) -> _RefusalError:
    return _RefusalError(fault.status, fault.message, fault.headers)


def _routes(*table: tuple[str, str, str]) -> list[tuple[str, re.Pattern[str], str]]:
    scope = r"(?P<scope>/repos/[^/]+/[^/]+|/orgs/[^/]+|/enterprises/[^/]+)"
    repository = r"(?P<scope>/repos/[^/]+/[^/]+)"
    return [
        (
            method,
            re.compile(path.replace("{scope}", scope).replace("{repository}", repository)),
            name,
        )
        for method, path, name in table
    ]


_ROUTES = _routes(
    ("POST", "{scope}/actions/runners/generate-jitconfig", "generate_jitconfig"),
    ("GET", "{scope}/actions/runners", "list_runners"),
    ("GET", r"{scope}/actions/runners/(?P<runner_id>\d+)", "get_runner"),
    ("DELETE", r"{scope}/actions/runners/(?P<runner_id>\d+)", "delete_runner"),
    ("GET", "{scope}/actions/runners/downloads", "list_runner_downloads"),
    ("GET", "{scope}/actions/runners/deprecations/(?P<version>[^/]+)", "get_runner_deprecation"),
    ("GET", "{scope}/actions/runner-groups", "list_runner_groups"),
    ("GET", "/app", "get_app"),
    ("GET", "/app/installations", "list_installations"),
    ("GET", "{scope}/installation", "get_installation"),
    ("POST", r"/app/installations/(?P<installation_id>\d+)/access_tokens", "create_access_token"),
    ("GET", r"{repository}/actions/jobs/(?P<job_id>\d+)", "get_job"),
    ("GET", "{repository}/actions/runs", "list_runs"),
    ("GET", r"{repository}/actions/runs/(?P<run_id>\d+)", "get_run"),
    ("GET", r"{repository}/actions/runs/(?P<run_id>\d+)/jobs", "list_jobs"),
    ("POST", r"{repository}/actions/jobs/(?P<job_id>\d+)/rerun", "rerun_job"),
    ("POST", r"{repository}/actions/runs/(?P<run_id>\d+)/force-cancel", "force_cancel"),
    ("POST", "{repository}/check-runs", "create_check_run"),
    ("POST", "{repository}/statuses/(?P<sha>[0-9a-f]{40})", "create_status"),
    ("GET", "{repository}/commits/(?P<sha>[0-9a-f]{40})/check-runs", "list_check_runs"),
    ("GET", "{repository}/commits/(?P<sha>[0-9a-f]{40})/statuses", "list_statuses"),
    ("GET", "{scope}/hooks", "list_hooks"),
    ("GET", r"{scope}/hooks/(?P<hook_id>\d+)/deliveries", "list_hook_deliveries"),
    (
        "POST",
        r"{scope}/hooks/(?P<hook_id>\d+)/deliveries/(?P<delivery_id>\d+)/attempts",
        "redeliver",
    ),
    ("GET", "/app/hook/config", "get_app_hook"),
    ("GET", "/app/hook/deliveries", "list_hook_deliveries"),
    ("POST", r"/app/hook/deliveries/(?P<delivery_id>\d+)/attempts", "redeliver"),
    ("GET", "{scope}/repos", "list_repositories"),
    ("POST", r"{repository}/actions/runs/(?P<run_id>\d+)/rerun", "rerun"),
    ("POST", r"{repository}/actions/runs/(?P<run_id>\d+)/cancel", "cancel_run"),
    ("POST", "/_twin/workflows", "queue_workflow"),
    ("GET", r"/_twin/runs/(?P<run_id>\d+)", "report_run"),
    ("POST", r"/_twin/jobs/(?P<job_id>\d+)/cancel", "cancel_job"),
    ("POST", r"/_twin/jobs/(?P<job_id>\d+)/approve", "approve_job"),
    ("GET", "/_twin/deliveries", "list_deliveries"),
    ("POST", "/_twin/faults", "script_fault"),
    ("GET", r"/_twin/runners/(?P<runner_id>\d+)/session", "session"),
)

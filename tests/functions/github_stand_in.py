"""GitHub as a function meets it, with a personal access token or as an App."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .http_stub import Received, Stub

TOKEN = "ghp_the-personal-access-token"
ALL_JOBS = {"id": 2832853555, "run_id": 940463255, "run_attempt": 1, "labels": ["self-hosted"]}
"""What a job has unless it says otherwise."""


@dataclass
class GitHub:
    """GitHub's runner and job endpoints of one repository, with its documented status codes."""

    repository: str = "octo-org/example"
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    runners: dict[int, dict[str, Any]] = field(default_factory=dict)
    is_app: bool = False
    faults: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    during: Callable[[str], None] = lambda _: None
    stub: Stub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = Stub(self._answer)

    @property
    def calls(self) -> list[str]:
        return [f"{one.method} {one.path.rpartition('/actions/')[2]}" for one in self.stub.received]

    def fail(self, operation: str, status: int, message: str = "no", **headers: str) -> None:
        body = json.dumps({"message": message}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.setdefault(operation, []).append((status, named, body))

    def add_runner(
        self,
        name: str,
        *,
        busy: bool = False,
        status: str = "online",
        labels: tuple[str, ...] = (),
    ) -> int:
        github_id = 100 + len(self.runners)
        self.runners[github_id] = {
            "id": github_id,
            "name": name,
            "busy": busy,
            "status": status,
            "labels": [{"name": label, "type": "custom"} for label in labels],
        }
        return github_id

    def _answer(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        path, _, query = request.path.partition("?")
        rest = path.removeprefix(f"/repos/{self.repository}/actions")
        operation = (
            "register"
            if rest == "/runners/generate-jitconfig"
            else "job"
            if rest.startswith("/jobs/")
            else "check_run"
            if path.endswith("/check-runs")
            else "status"
            if "/statuses/" in path
            else "list"
            if rest == "/runners" and request.method == "GET"
            else "find"
            if request.method == "GET"
            else "delete"
        )
        self.during(operation)
        if faults := self.faults.get(operation):
            return faults.pop(0)
        if request.headers.get("authorization") not in {f"Bearer {t}" for t in self.tokens}:
            return _json(401, {"message": "Bad credentials"})
        if operation == "check_run" and not self.is_app:
            return _json(403, {"message": "You must authenticate via a GitHub App."})
        if operation in ("check_run", "status"):
            return _json(201, {"id": 1})
        if operation == "job":
            job = self.jobs.get(int(rest.rpartition("/")[2]))
            return _json(200, ALL_JOBS | job) if job else _json(404, {"message": "Not Found"})
        if operation == "list":
            name = query.removeprefix("name=") if query.startswith("name=") else None
            found = [one for one in self.runners.values() if name in (None, one["name"])]
            return _json(200, {"total_count": len(found), "runners": found})
        if operation == "find":
            runner = self.runners.get(int(rest.rpartition("/")[2]))
            return _json(200, runner) if runner else _json(404, {"message": "Not Found"})
        if operation == "delete":
            return self._delete(int(rest.rpartition("/")[2]))
        wanted = request.json()
        if any(one["name"] == wanted["name"] for one in self.runners.values()):
            return _json(409, {"message": "Already exists - A runner with the name exists."})
        github_id = self.add_runner(wanted["name"])
        return _json(
            201,
            {"runner": self.runners[github_id], "encoded_jit_config": "the-jit-configuration"},
        )

    def _delete(self, github_id: int) -> tuple[int, dict[str, str], bytes]:
        runner = self.runners.get(github_id)
        if runner is None:
            return _json(404, {"message": "Not Found"})
        if runner["busy"]:
            return _json(422, {"message": "Runner is currently running a job."})
        del self.runners[github_id]
        return 204, {}, b""


def _json(status: int, document: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json"}, json.dumps(document).encode()

"""The twin itself: GitHub for one repository, on one port of 127.0.0.1."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from typing import Any

from cdk_runner_fleet.local.twin.askers import Asker, Askers, TwinApp
from cdk_runner_fleet.local.twin.board import Board
from cdk_runner_fleet.local.twin.checks import Checks
from cdk_runner_fleet.local.twin.deliveries import Deliveries, Delivery
from cdk_runner_fleet.local.twin.faults import ApiFault, FaultScript
from cdk_runner_fleet.local.twin.handler import Handler
from cdk_runner_fleet.local.twin.payloads import Payloads
from cdk_runner_fleet.local.twin.records import Job, Run
from cdk_runner_fleet.local.twin.releases import Releases

__all__ = ["GitHubTwin", "TwinServer"]


class GitHubTwin:
    """A stand-in for GitHub on loopback.

    Args:
        repository: `owner/name` of the one repository it has. Its owner is an organization.
        token: a bearer token that its REST API takes for everything.
        apps: GitHub Apps that are installed in the organization.
        enterprise: slug of the enterprise that the organization belongs to; None for none.
        runner_groups: names of the organization's and the enterprise's groups, the default first.
        requests_an_hour: what the token and each installation may ask; above it 403.
        token_seconds: how long an installation's access token lives.
        webhook_url: where `workflow_job` events go; may be set later (`twin.webhook_url = …`).
        webhook_secret: signs them.
        port: TCP port on 127.0.0.1; 0 picks a free one.
        lost_after_seconds: a job fails when its runner is out of contact for so long.

    Example:
        >>> with GitHubTwin(repository="o/r", token="t", webhook_secret="s") as twin:
        ...     twin.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        *,
        repository: str,
        token: str,
        webhook_secret: str,
        apps: Sequence[TwinApp] = (),
        enterprise: str | None = None,
        runner_groups: Sequence[str] = ("Default",),
        requests_an_hour: int = 15_000,  # as for an organization of GitHub Enterprise Cloud
        token_seconds: float = 3600.0,
        webhook_url: str | None = None,
        port: int = 0,
        lost_after_seconds: float = 1.0,
    ) -> None:
        self.repository = repository
        self.askers = Askers(
            token=token, apps=apps, repository=repository, token_seconds=token_seconds
        )
        self.runner_groups = tuple(runner_groups)
        self.requests_an_hour = requests_an_hour
        own = (f"/repos/{repository}", f"/orgs/{repository.partition('/')[0]}")
        of_enterprise = (f"/enterprises/{enterprise}",) if enterprise else ()
        self.scopes = frozenset(scope.casefold() for scope in (*own, *of_enterprise))
        self.api_faults: FaultScript[ApiFault] = FaultScript()
        self._deliveries = Deliveries(url=webhook_url, secret=webhook_secret)
        self.webhook_faults = self._deliveries.faults
        self.hook_deliveries = self._deliveries
        self.requests_served = 0
        self.checks = Checks()
        self.releases = Releases()
        self._server = TwinServer(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.payloads = Payloads(api_url=self.url, repository=repository, enterprise=enterprise)
        self.board = Board(
            repository=repository,
            notify=lambda action, job: self._deliveries.deliver(self.payloads.event(action, job)),
            lost_after_seconds=lost_after_seconds,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="github-twin", daemon=True
        )

    @property
    def token(self) -> str:
        """The personal access token."""
        return self.askers.token

    @token.setter
    def token(self, token: str) -> None:
        self.askers.token = token

    @property
    def webhook_url(self) -> str | None:
        """Where events go."""
        return self._deliveries.url

    @webhook_url.setter
    def webhook_url(self, url: str) -> None:
        self._deliveries.url = url

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook delivery made so far."""
        return self._deliveries.made

    def quota_headers(self, asker: Asker) -> dict[str, str]:
        """What an answer says of the primary rate limit."""
        asker.hour.renew()
        used = min(asker.hour.used, self.requests_an_hour)
        return {
            "x-ratelimit-limit": str(self.requests_an_hour),
            "x-ratelimit-remaining": str(self.requests_an_hour - used),
            "x-ratelimit-used": str(used),
            "x-ratelimit-reset": str(math.ceil(asker.hour.resets_at)),
            "x-ratelimit-resource": "core",
        }

    def start(self) -> None:
        """Serves until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Stops serving, ends every session, sends nothing more."""
        self._deliveries.stop()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close_sessions()
        self._server.server_close()

    def __enter__(self) -> GitHubTwin:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def run_report(self, run: Run) -> dict[str, Any]:
        """The control API's view of a run; times are epoch seconds."""
        with self.board.lock:
            return {
                "run_id": run.id,
                "run_attempt": run.attempt,
                "status": run.status,
                "conclusion": run.conclusion,
                "jobs": [_job_report(job) for job in run.jobs],
            }


def _job_report(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.leg.name,
        "labels": list(job.leg.labels),
        "status": job.status,
        "conclusion": job.conclusion,
        "runner_name": job.runner_name,
        "runner_id": job.runner_id,
        "queued_at": job.queued_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "outputs": job.outputs,
        "log_tail": list(job.log),
    }


class TwinServer(ThreadingHTTPServer):
    """The listening socket, and the sessions to end with it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256  # a hundred runners knock at once

    def __init__(self, address: tuple[str, int], twin: GitHubTwin) -> None:
        super().__init__(address, Handler)
        self.twin = twin
        self.sessions: set[socket.socket] = set()

    def close_sessions(self) -> None:
        for connection in list(self.sessions):
            self.hang_up(connection)

    @staticmethod
    def hang_up(connection: socket.socket) -> None:
        """Ends a session whose reader is blocked in another thread."""
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was quicker
            return

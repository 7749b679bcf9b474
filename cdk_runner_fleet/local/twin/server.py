"""The twin itself: GitHub for one repository, on one port of 127.0.0.1."""

from __future__ import annotations

import socket
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from cdk_runner_fleet.local.twin.board import Board
from cdk_runner_fleet.local.twin.deliveries import Deliveries, Delivery
from cdk_runner_fleet.local.twin.faults import ApiFault, FaultScript
from cdk_runner_fleet.local.twin.handler import Handler
from cdk_runner_fleet.local.twin.payloads import Payloads
from cdk_runner_fleet.local.twin.records import Job, Run

__all__ = ["GitHubTwin", "TwinServer"]


class GitHubTwin:
    """A stand-in for GitHub on loopback.

    Args:
        repository: `owner/name` of the one repository it has.
        token: the only bearer token its REST API takes.
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
        webhook_url: str | None = None,
        port: int = 0,
        lost_after_seconds: float = 1.0,
    ) -> None:
        self.repository = repository
        self.token = token
        self.api_faults: FaultScript[ApiFault] = FaultScript()
        self._deliveries = Deliveries(url=webhook_url, secret=webhook_secret)
        self.webhook_faults = self._deliveries.faults
        self.requests_served = 0
        self._server = TwinServer(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.payloads = Payloads(api_url=self.url, repository=repository)
        self.board = Board(
            repository=repository,
            notify=lambda action, job: self._deliveries.deliver(self.payloads.event(action, job)),
            lost_after_seconds=lost_after_seconds,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="github-twin", daemon=True
        )

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

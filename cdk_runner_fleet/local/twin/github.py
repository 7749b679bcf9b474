"""What GitHub knows and does for an organization's repositories, whoever asks and however."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cdk_runner_fleet.local import guard
from cdk_runner_fleet.local.twin.askers import Asker, Askers, TwinApp
from cdk_runner_fleet.local.twin.board import Board
from cdk_runner_fleet.local.twin.checks import Checks
from cdk_runner_fleet.local.twin.deliveries import Deliveries, Delivery
from cdk_runner_fleet.local.twin.faults import ApiFault, FaultScript
from cdk_runner_fleet.local.twin.payloads import Payloads
from cdk_runner_fleet.local.twin.records import Job, Run
from cdk_runner_fleet.local.twin.releases import Releases

__all__ = ["GitHub"]

# of api.github.com/meta; github.blog/changelog, 2026-10-29, has the last two
_HOOK_NETWORKS = (
    *("192.30.252.0/22", "185.199.108.0/22", "140.82.112.0/20", "143.55.64.0/20"),
    *("2a0a:a440::/29", "2606:50c0::/32", "9.234.98.160/28", "9.234.106.48/28"),
)


class GitHub:
    """One repository of an organization, with its runners, jobs, hooks and who may ask for them.

    The organization may have others, see `add_repository`.

    Args:
        url: where its REST API answers.
        repository: `owner/name` of the repository. Its owner is an organization.
        token: a bearer token that its REST API takes for everything.
        webhook_url: where `workflow_job` events go.
        webhook_secret: signs them.
        apps: GitHub Apps that are installed in the organization.
        enterprise: slug of the enterprise that the organization belongs to; None for none.
        runner_groups: names of the organization's and the enterprise's groups, the default first.
        requests_an_hour: what the token and each installation may ask; above it 403.
        token_seconds: how long an installation's access token lives.
        lost_after_seconds: a job fails when its runner is out of contact for so long.

    Attributes:
        control_token: what requests to the twin's own routes have to bear; may be set later.
        payloads_of: who writes the JSON about a repository's runs, by `owner/name`.
    """

    def __init__(
        self,
        *,
        url: str,
        repository: str,
        token: str,
        webhook_url: str | None,
        webhook_secret: str,
        apps: Sequence[TwinApp],
        enterprise: str | None,
        runner_groups: Sequence[str],
        requests_an_hour: int,
        token_seconds: float,
        lost_after_seconds: float,
    ) -> None:
        self.url = url
        self.repository = repository
        self.askers = Askers(
            token=token, apps=apps, repository=repository, token_seconds=token_seconds
        )
        self.runner_groups = tuple(runner_groups)
        self.requests_an_hour = requests_an_hour
        own = (f"/repos/{repository}", f"/orgs/{repository.partition('/')[0]}")
        of_enterprise = (f"/enterprises/{enterprise}",) if enterprise else ()
        self.scopes = {scope.casefold() for scope in (*own, *of_enterprise)}
        self.api_faults: FaultScript[ApiFault] = FaultScript()
        self.hook_deliveries = Deliveries(url=webhook_url, secret=webhook_secret)
        self.webhook_faults = self.hook_deliveries.faults
        self.requests_served = 0
        self.control_token = guard.new_token()
        self.checks = Checks()
        self.releases = Releases()
        self.hook_networks: object = list(_HOOK_NETWORKS)
        self.payloads = Payloads(api_url=url, repository=repository, enterprise=enterprise)
        self.payloads_of = {repository: self.payloads}
        self.board = Board(
            repository=repository,
            notify=lambda action, job: self.hook_deliveries.deliver(
                self.payloads_of[job.run.repository].event(action, job)
            ),
            lost_after_seconds=lost_after_seconds,
        )

    def add_repository(self, name: str) -> str:
        """Give the organization another repository.

        Args:
            name: without its owner.

        Returns:
            `owner/name`, as `Board.queue_run` takes it.
        """
        owner = self.repository.partition("/")[0]
        repository = f"{owner}/{name}"
        self.payloads_of[repository] = self.payloads.of(repository)
        self.scopes.add(f"/repos/{repository}".casefold())
        self.askers.names.add(name)
        return repository

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
        return self.hook_deliveries.url

    @webhook_url.setter
    def webhook_url(self, url: str) -> None:
        self.hook_deliveries.url = url

    @property
    def deliveries_under_way(self) -> int:
        """How many webhooks are to be sent yet, or wait for their answer."""
        return self.hook_deliveries.under_way

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook delivery made so far."""
        return self.hook_deliveries.made

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

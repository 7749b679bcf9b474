"""The twin itself: GitHub for an organization, on one port of 127.0.0.1."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cdk_runner_fleet.local.twin.askers import TwinApp
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.handler import TwinServer

__all__ = ["GitHubTwin"]


class GitHubTwin(GitHub):
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
        self._server = TwinServer(port)
        super().__init__(
            url=self._server.url,
            repository=repository,
            token=token,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            apps=apps,
            enterprise=enterprise,
            runner_groups=runner_groups,
            requests_an_hour=requests_an_hour,
            token_seconds=token_seconds,
            lost_after_seconds=lost_after_seconds,
        )
        self._server.github = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="github-twin", daemon=True
        )

    def start(self) -> None:
        """Serves until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Stops serving, ends every session, sends nothing more."""
        self.hook_deliveries.stop()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.sessions.close()
        self._server.server_close()

    def __enter__(self) -> GitHubTwin:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

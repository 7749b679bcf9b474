"""The repository's self-hosted runners at GitHub."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_runtime import github
from fleet_runtime.aws import client
from fleet_runtime.credentials import PersonalAccessToken
from fleet_runtime.github import GitHubRefused, Job, Registration, Request, Response
from fleet_runtime.settings import GitHub
from fleet_runtime.transport import Transport


class GitHubRunners:
    """Registers, finds and removes a repository's runners.

    Every method raises GitHubUnavailable or GitHubRefused.
    """

    def __init__(
        self, *, repository: str, transport: Transport, credentials: PersonalAccessToken
    ) -> None:
        self._repository = repository
        self._transport = transport
        self._credentials = credentials

    @classmethod
    def of(cls, settings: GitHub) -> GitHubRunners:
        """Make them from a function's settings."""
        return cls(
            repository=settings.repository,
            transport=Transport(api_url=settings.api_url),
            credentials=PersonalAccessToken(
                secrets_manager=client("secretsmanager"), secret_arn=settings.token_secret_arn
            ),
        )

    def job(self, job_id: int) -> Job:
        """Look a workflow job up."""
        request = github.get_job(repository=self._repository, job_id=job_id)
        return github.read_job(self._send(request))

    def register(self, *, name: str, labels: Sequence[str]) -> Registration:
        """Register a runner just in time, in place of an idle one of the same name."""
        request = github.generate_jitconfig(repository=self._repository, name=name, labels=labels)
        response = self._send(request)
        if response.status == 409 and self.remove(name=name, github_runner_id=None):
            raise GitHubRefused(f"a runner named {name} is busy with a job", status=409)
        if response.status == 409:
            response = self._send(request)
        return github.read_registration(response)

    def remove(self, *, name: str, github_runner_id: int | None) -> bool:
        """Remove a runner, found by its name if its id is not known.

        Returns:
            Whether it is busy with a job, and so still there.
        """
        if github_runner_id is None:
            request = github.find_runner(repository=self._repository, name=name)
            github_runner_id = github.read_runner_id(self._send(request), name=name)
        if github_runner_id is None:
            return False
        request = github.delete_runner(
            repository=self._repository, github_runner_id=github_runner_id
        )
        return github.read_deletion(self._send(request))

    def _send(self, request: Request) -> Response:
        response = self._transport.send(request, token=self._credentials.token())
        if response.status == 401:
            # the token may have been replaced since this process read it
            self._credentials.forget()
            response = self._transport.send(request, token=self._credentials.token())
        return response

"""GitHub's JSON shapes: webhook events and REST answers.

Held against @octokit/webhooks-schemas 7.6.1 (tests/local/twin/schemas) and the fields that
@octokit/openapi requires.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cdk_runner_fleet.local.twin.deliveries import HOOK_ID, Delivery
from cdk_runner_fleet.local.twin.records import Job, Run, Runner
from cdk_runner_fleet.local.twin.releases import Archive, Deprecation

__all__ = ["Payloads"]

HEAD_SHA = "0000000000000000000000000000000000000001"
_WEB = "https://github.com"
_CREATED = "2026-01-01T00:00:00Z"
# Links every repository and user object has; their values are this suffix on the object's own URL.
_REPOSITORY_LINKS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}
_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


class Payloads:
    """Writes GitHub's JSON.

    Args:
        api_url: where the twin answers; what GitHub writes as https://api.github.com.
        repository: `owner/name`.
        enterprise: slug of the enterprise that its owner belongs to; None for none.
    """

    def __init__(self, *, api_url: str, repository: str, enterprise: str | None) -> None:
        self._repository = repository
        self._enterprise = enterprise
        self._api = f"{api_url}/repos/{repository}"
        self._api_root = api_url
        self._web = f"{_WEB}/{repository}"

    def of(self, repository: str) -> Payloads:
        """The same for another repository of the owner."""
        return Payloads(api_url=self._api_root, repository=repository, enterprise=self._enterprise)

    def event(self, action: str, job: Job) -> dict[str, Any]:
        """The `workflow_job` event of that action."""
        event = {
            "action": action,
            "workflow_job": self.job(job),
            "repository": self.repository(),
            "sender": self.user(),
        }
        if self._enterprise is not None:
            event["enterprise"] = self._enterprise_of(self._enterprise)
        if job.spec.environment is not None and action in ("queued", "waiting"):
            event["deployment"] = self._deployment(job, job.spec.environment)
        return event

    def job(self, job: Job) -> dict[str, Any]:
        """A workflow job, alike in webhooks and REST answers."""
        runs = f"{self._api}/actions/runs/{job.run.id}"
        started = job.started_at or job.queued_at or job.created_at
        on_runner = job.runner_id is not None
        return {
            "id": job.id,
            "run_id": job.run.id,
            "workflow_name": job.run.workflow.name,
            "head_branch": "main",
            "run_url": runs,
            "run_attempt": job.attempt,
            "node_id": f"CR_{job.id}",
            "head_sha": HEAD_SHA,
            "url": f"{self._api}/actions/jobs/{job.id}",
            "html_url": f"{self._web}/actions/runs/{job.run.id}/job/{job.id}",
            "status": job.status,
            "conclusion": job.conclusion,
            "created_at": _iso(job.created_at),
            "started_at": _iso(started),
            "completed_at": None if job.completed_at is None else _iso(job.completed_at),
            "name": job.leg.name,
            "steps": [self._step(number, step) for number, step in enumerate(job.steps, start=1)],
            "check_run_url": f"{self._api}/check-runs/{job.id}",
            "labels": list(job.leg.labels),
            "runner_id": job.runner_id,
            "runner_name": job.runner_name,
            "runner_group_id": 1 if on_runner else None,
            "runner_group_name": "Default" if on_runner else None,
        }

    def run(self, run: Run) -> dict[str, Any]:
        """A workflow run as REST lists it."""
        api = f"{self._api}/actions/runs/{run.id}"
        return {
            "id": run.id,
            "node_id": f"WFR_{run.id}",
            "name": run.workflow.name,
            "head_branch": "main",
            "head_sha": HEAD_SHA,
            "path": f".github/workflows/{run.file_name}",
            "display_title": run.workflow.name,
            "run_number": run.number,
            "run_attempt": run.attempt,
            "event": "push",
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": 1,
            "url": api,
            "html_url": f"{self._web}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": _iso(run.created_at),
            "updated_at": _iso(run.created_at),
            "jobs_url": f"{api}/jobs",
            "logs_url": f"{api}/logs",
            "check_suite_url": f"{self._api}/check-suites/1",
            "artifacts_url": f"{api}/artifacts",
            "cancel_url": f"{api}/cancel",
            "rerun_url": f"{api}/rerun",
            "workflow_url": f"{self._api}/actions/workflows/1",
            "head_commit": None,
            "repository": self.repository(),
            "head_repository": self.repository(),
        }

    def runner(self, runner: Runner) -> dict[str, Any]:
        """A self-hosted runner. Its system is unknown until it has connected."""
        return {
            "id": runner.id,
            "runner_group_id": runner.group_id,
            "name": runner.name,
            "os": "linux" if runner.connected_once else "unknown",
            "status": "online" if runner.send else "offline",
            "busy": runner.job is not None,
            "ephemeral": runner.is_ephemeral,
            "labels": [
                {"id": number, "name": label, "type": "custom"}
                for number, label in enumerate(runner.labels, start=1)
            ],
        }

    def group(self, group_id: int, name: str, *, is_limited: bool) -> dict[str, Any]:
        """A group of an organization's or enterprise's runners."""
        return {
            "id": group_id,
            "name": name,
            "visibility": "selected" if is_limited else "all",
            "default": group_id == 1,
            "allows_public_repositories": False,
            "restricted_to_workflows": False,
            "selected_workflows": [],
        }

    def runner_application(self, archive: Archive) -> dict[str, Any]:
        """An archive of GitHub's runner; its SHA-256 is left out if there is none."""
        checksum = {"sha256_checksum": archive.sha256} if archive.sha256 else {}
        return {
            "os": archive.os,
            "architecture": archive.architecture,
            "download_url": f"{_WEB}/actions/runner/releases/download/v{archive.version}/"
            f"{archive.filename}",
            "filename": archive.filename,
            **checksum,
        }

    def runner_deprecation(self, version: str, deprecation: Deprecation) -> dict[str, Any]:
        """When a version of GitHub's runner is retired."""
        return {
            "runner_version": version,
            "registration_deprecates_at": deprecation.registration,
            "runtime_deprecates_at": deprecation.runtime,
        }

    def app(self, app_id: str) -> dict[str, Any]:
        """A GitHub App."""
        return {
            "id": int(app_id),
            "slug": f"app-{app_id}",
            "node_id": f"A_{app_id}",
            "owner": self.user(),
            "name": f"App {app_id}",
            "description": None,
            "external_url": _WEB,
            "html_url": f"{_WEB}/apps/app-{app_id}",
            "created_at": _CREATED,
            "updated_at": _CREATED,
            "permissions": {},
            "events": ["workflow_job"],
        }

    def installation(self, installation_id: int, app_id: str) -> dict[str, Any]:
        """An App's installation in the organization."""
        owner = self.user()
        tokens = f"{self._api_root}/app/installations/{installation_id}/access_tokens"
        return {
            "id": installation_id,
            "account": owner,
            "repository_selection": "all",
            "access_tokens_url": tokens,
            "repositories_url": f"{self._api_root}/installation/repositories",
            "html_url": f"{_WEB}/organizations/{owner['login']}/settings/installations/1",
            "app_id": int(app_id),
            "app_slug": f"app-{app_id}",
            "target_id": 1,
            "target_type": "Organization",
            "permissions": {},
            "events": ["workflow_job"],
            "created_at": _CREATED,
            "updated_at": _CREATED,
            "single_file_name": None,
            "suspended_by": None,
            "suspended_at": None,
        }

    def hook(self, *, scope: str, url: str | None) -> dict[str, Any]:
        """The one webhook, as the repository's or the organization's."""
        api = f"{self._api_root}{scope}/hooks/{HOOK_ID}"
        return {
            "type": "Repository" if scope.startswith("/repos/") else "Organization",
            "id": HOOK_ID,
            "name": "web",
            "active": url is not None,
            "events": ["workflow_job"],
            "config": self.hook_config(url=url),
            "updated_at": _CREATED,
            "created_at": _CREATED,
            "url": api,
            "test_url": f"{api}/test",
            "ping_url": f"{api}/pings",
            "deliveries_url": f"{api}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None},
        }

    def hook_config(self, *, url: str | None) -> dict[str, Any]:
        """Where a webhook goes."""
        return {
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": "********",
            "url": url or "",
        }

    def delivery(self, delivery: Delivery) -> dict[str, Any]:
        """An attempt to deliver an event, as GitHub's log lists it."""
        code = delivery.status_code or 0
        status = "OK" if 200 <= code < 300 else f"Invalid HTTP Response: {code}"
        return {
            "id": delivery.id,
            "guid": delivery.guid,
            "delivered_at": _iso(delivery.sent_at or 0),
            "redelivery": delivery.redelivery,
            "duration": round(delivery.seconds, 2),
            "status": status if code else "failed to connect to host",
            "status_code": code,
            "event": "workflow_job",
            "action": delivery.action,
            "installation_id": None,
            "repository_id": 1,
            "throttled_at": None,
        }

    def repository(self) -> dict[str, Any]:
        """The repository."""
        name = self._repository.partition("/")[2]
        return {
            "id": 1,
            "node_id": "R_1",
            "name": name,
            "full_name": self._repository,
            "private": True,
            "owner": self.user(),
            "html_url": self._web,
            "description": None,
            "fork": False,
            "url": self._api,
            **{key: self._api + suffix for key, suffix in _REPOSITORY_LINKS.items()},
            "created_at": _CREATED,
            "updated_at": _CREATED,
            "pushed_at": _CREATED,
            "git_url": f"git://github.com/{self._repository}.git",
            "ssh_url": f"git@github.com:{self._repository}.git",
            "clone_url": f"{self._web}.git",
            "svn_url": self._web,
            "homepage": None,
            "size": 1,
            "stargazers_count": 0,
            "watchers_count": 0,
            "language": None,
            "has_issues": True,
            "has_projects": False,
            "has_downloads": False,
            "has_wiki": False,
            "has_pages": False,
            "has_discussions": False,
            "forks_count": 0,
            "mirror_url": None,
            "archived": False,
            "disabled": False,
            "open_issues_count": 0,
            "license": None,
            "allow_forking": False,
            "is_template": False,
            "web_commit_signoff_required": False,
            "topics": [],
            "visibility": "private",
            "forks": 0,
            "open_issues": 0,
            "watchers": 0,
            "default_branch": "main",
            "custom_properties": {},
        }

    def user(self) -> dict[str, Any]:
        """The repository's owner, who is also the sender of every event."""
        login = self._repository.partition("/")[0]
        url = f"{self._api_root}/users/{login}"
        return {
            "login": login,
            "id": 1,
            "node_id": "U_1",
            "avatar_url": f"https://avatars.githubusercontent.com/{login}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{_WEB}/{login}",
            **{key: url + suffix for key, suffix in _USER_LINKS.items()},
            "type": "User",
            "site_admin": False,
        }

    def _step(self, number: int, step: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": step["name"],
            "status": "completed",
            "conclusion": step["conclusion"],
            "number": number,
            "started_at": _iso(step["started_at"]),
            "completed_at": _iso(step["completed_at"]),
        }

    def _enterprise_of(self, slug: str) -> dict[str, Any]:
        return {
            "id": 1,
            "slug": slug,
            "name": slug,
            "node_id": "E_1",
            "avatar_url": f"https://avatars.githubusercontent.com/b/{slug}",
            "description": None,
            "website_url": None,
            "html_url": f"{_WEB}/enterprises/{slug}",
            "created_at": _CREATED,
            "updated_at": _CREATED,
        }

    def _deployment(self, job: Job, environment: str) -> dict[str, Any]:
        url = f"{self._api}/deployments/{job.id}"
        return {
            "url": url,
            "id": job.id,
            "node_id": f"DE_{job.id}",
            "sha": HEAD_SHA,
            "ref": "main",
            "task": "deploy",
            "payload": {},
            "original_environment": environment,
            "environment": environment,
            "description": None,
            "creator": self.user(),
            "created_at": _iso(job.created_at),
            "updated_at": _iso(job.created_at),
            "statuses_url": f"{url}/statuses",
            "repository_url": self._api,
        }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

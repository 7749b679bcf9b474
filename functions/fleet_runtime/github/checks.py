"""What stands beside a commit at GitHub: check runs and commit statuses. Pure."""

from __future__ import annotations

from fleet_runtime.github.message import Request, Response, read_document

LONGEST_DESCRIPTION = 140
"""Of a commit status, in characters (REST API, "Create a commit status")."""
_LAST_CHARACTER = "\uffff"
"""That a commit status takes: GitHub answers 422, "doesn't accept 4-byte Unicode", for others."""


def create_check_run(
    *,
    repository: str,
    head_sha: str,
    name: str,
    external_id: str,
    conclusion: str,
    title: str,
    summary: str,
    details_url: str,
) -> Request[None]:
    """Say something as a check run that is over; only a GitHub App with *Checks: write* may.

    Args:
        repository: ``owner/name``.
        head_sha: The commit.
        name: Of the check.
        external_id: What whoever says it calls it.
        conclusion: ``failure``, ``neutral`` or another of GitHub's.
        title: One line.
        summary: Markdown.
        details_url: Where there is more; empty if nowhere.
    """
    body = {
        "name": name,
        "head_sha": head_sha,
        "external_id": external_id,
        "status": "completed",
        "conclusion": conclusion,
        "output": {"title": title, "summary": summary},
        **({"details_url": details_url} if details_url else {}),
    }
    return Request.post(
        f"/repos/{repository}/check-runs", read=_read_created, body=body, repository=repository
    )


def create_commit_status(
    *,
    repository: str,
    head_sha: str,
    state: str,
    context: str,
    description: str,
    target_url: str,
) -> Request[None]:
    """Say something as a commit status, with *Commit statuses: write*; emoji are left out.

    Args:
        repository: ``owner/name``.
        head_sha: The commit.
        state: ``failure``, ``success`` or another of GitHub's.
        context: Its name.
        description: Up to ``LONGEST_DESCRIPTION`` characters.
        target_url: Where there is more; empty if nowhere.
    """
    body = {
        "state": state,
        "context": _plain(context),
        "description": _plain(description),
        **({"target_url": target_url} if target_url else {}),
    }
    return Request.post(
        f"/repos/{repository}/statuses/{head_sha}",
        read=_read_created,
        body=body,
        repository=repository,
    )


def _plain(text: str) -> str:
    return "".join(char for char in text if char <= _LAST_CHARACTER)


def _read_created(response: Response) -> None:
    read_document(response, expected=201)

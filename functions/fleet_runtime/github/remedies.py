"""What to do when GitHub refuses: by its words if they name a policy, else by its status. Pure."""

from __future__ import annotations

from fleet_runtime.github.message import NO_JSON, GitHubRefused

_POLICIES = {
    "ip allow list": "an IP allow list keeps AWS Lambda out: see docs/github-access.md, Policies",
    "saml": "the organization wants single sign-on: authorize the token for it at GitHub "
    "(Configure SSO beside the token), or use a GitHub App",
    "forbids access": "a policy of the organization forbids this kind of token: allow it in the "
    "organization's settings (Personal access tokens), or use a GitHub App",
    "runners are disabled": "a policy switches self-hosted runners of repositories off: allow them "
    "in the Actions settings of the organization or enterprise (Actions, General, Runners), or "
    "serve the whole organization with github_org, its runners registered there: without "
    "register_for",
    NO_JSON.lower(): "the answer is not GitHub's: see what stands between AWS Lambda and "
    "github_api_url",
}
"""What to do, by what GitHub's message has in lower case."""


def of_registration(error: GitHubRefused) -> str:
    """Say what to do if a runner cannot be registered; empty if the error's own words say it."""
    if policy := _policy(error):
        return policy
    match error.status:
        case 0:
            return ""
        case 401:
            return "the token is wrong or has expired: put a valid one into its secret"
        case 403:
            return (
                "the credentials need write access to the fleet's self-hosted runners; where they "
                "have it, a policy of the organization or enterprise switches those of "
                "repositories off"
            )
        case 404:
            return (
                "the credentials need write access to the fleet's self-hosted runners and have to "
                "see the repository; where they do, Actions is switched off there: Settings, "
                "Actions, General"
            )
        case 301 | 307 | 308:
            return (
                "the repository has another name now: deploy again with it, or if it is one of "
                "many, run the job again there"
            )
    return "see GitHub's message"


def of_telling(error: GitHubRefused) -> str:
    """Say what to do if nothing may be said at a commit."""
    by_status = (
        "give the GitHub App Checks: write, or the token Commit statuses: write"
        if error.status in (401, 403, 404)
        # GitHub docs, "REST API endpoints for commit statuses": 1000 of a name at a commit
        else "see GitHub's message; a commit takes 1000 statuses of a name"
    )
    return f"{_policy(error) or by_status}, or set explain_at_github to false"


def _policy(error: GitHubRefused) -> str:
    said = str(error).lower()
    return next((what for words, what in _POLICIES.items() if words in said), "")

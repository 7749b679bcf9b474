"""GitHub's side as it is given to a fleet: what is served, where, and as which App."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from aws_cdk import Token
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet.values.types import check_types, is_token

REPOSITORY = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/"
    r"(?!\.{1,2}(?:/|\Z))(?![^/]*\.git(?:/|\Z))[A-Za-z0-9._-]{1,100}"
)
"""``owner/name``. Managed users' logins have an underscore (GitHub docs, "About Enterprise Managed
Users"), and no name ends with ``.git``."""
RegisterFor = Literal["repository"]
"""What each runner is registered for: the repository of the job that it is started for."""
DEFAULT_GROUP = "Default"
"""GitHub's name for the group that every organization and every enterprise has."""
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_APP_ID = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, kw_only=True)
class GitHubApp:
    """A GitHub App that the fleet acts as.

    Args:
        app_id: The App's id, as its settings page at GitHub shows it.
        private_key: Secret whose value is the App's private key, the ``.pem`` file as GitHub hands
            it out. Default: ``kms_key`` is given.
        kms_key: The private key imported into KMS, which it then never leaves: an ``RSA_2048`` key
            for ``SIGN_VERIFY``. Default: ``private_key`` is given.
        installation_id: The App's installation. Default: it is looked up, one request for each
            new process of a function.

    Raises:
        TypeError: if the App's id or a key is of another kind.
        ValueError: if not exactly one of ``private_key`` and ``kms_key`` is given, or an id is
            none.
    """

    app_id: str | int
    private_key: secretsmanager.ISecret | None = None
    kms_key: kms.IKey | None = None
    installation_id: int | None = None

    def __post_init__(self) -> None:
        """Check the ids and the key."""
        kinds = {name: value for name, value in vars(self).items() if name != "installation_id"}
        check_types(GitHubApp, kinds)
        if not is_token(self.app_id) and not _APP_ID.fullmatch(str(self.app_id)):
            raise ValueError(
                f"app_id {self.app_id!r} is not the id of a GitHub App, take the App ID from the "
                "App's settings page, for example 123456"
            )
        if (self.private_key is None) == (self.kms_key is None):
            raise ValueError(
                f"GitHub App {self.app_id} needs one key: give private_key, a secret with its "
                ".pem file, or kms_key, where that was imported"
            )
        given = self.installation_id
        is_id = isinstance(given, int) and not isinstance(given, bool) and given > 0
        if given is not None and not is_token(given) and not is_id:
            raise ValueError(
                f"installation_id {given!r} of GitHub App {self.app_id} is none, take the number "
                "at the end of the installation page's address, or leave it out"
            )

    def to_settings(self) -> dict[str, object]:
        """The App as it stands in the functions' settings."""
        key = (
            {"private_key_secret_arn": self.private_key.secret_arn}
            if self.private_key
            else {"kms_key_id": self.kms_key.key_arn if self.kms_key else ""}
        )
        installation = {"installation_id": self.installation_id} if self.installation_id else {}
        return {"app_id": str(self.app_id), **key, **installation}


def served_scope(
    *, github_repo: str | None, github_org: str | None, github_enterprise: str | None
) -> str:
    """Return what is served, as the REST API's paths name it: ``repos/owner/name``.

    Raises:
        ValueError: unless exactly one is given, and can be one.
    """
    given = {
        name: value
        for name, value in {
            "github_repo": github_repo,
            "github_org": github_org,
            "github_enterprise": github_enterprise,
        }.items()
        if value is not None
    }
    if len(given) != 1:
        raise ValueError(
            f"{' and '.join(given) or 'no scope'} given, give exactly one of github_repo, "
            "github_org and github_enterprise: a fleet serves one of them"
        )
    [(name, value)] = given.items()
    kind, pattern, advice = {
        "github_repo": (
            "repos",
            REPOSITORY,
            "is not a repository, give it as owner/repo without .git, for example "
            "octo-org/octo-repo",
        ),
        "github_org": (
            "orgs",
            _LOGIN,
            "is not an organization, give its login as in https://github.com/<login>",
        ),
        "github_enterprise": (
            "enterprises",
            _SLUG,
            "is not an enterprise, give its slug as in https://github.com/enterprises/<slug>",
        ),
    }[name]
    if not Token.is_unresolved(value) and not pattern.fullmatch(value):
        raise ValueError(f"{name} {value!r} {advice}")
    return f"{kind}/{value}"


def check_registration(
    *,
    register_for: RegisterFor | None,
    runner_group: str | None,
    image_runner_group: str | None,
    scope: str,
) -> None:
    """Raise ``ValueError`` if runners of the scope cannot be registered like this."""
    if register_for not in (None, *get_args(RegisterFor)):
        raise ValueError(
            f"register_for {register_for!r} is unknown, use 'repository', or leave it out: "
            "then runners are registered for what the fleet serves"
        )
    groups = {"runner_group": runner_group, "image_runner_group": image_runner_group}
    for name, value in groups.items():
        if value is not None and scope.startswith("repos/"):
            raise ValueError(
                f"{name} {value!r} cannot be kept, a repository's runners have no groups: leave "
                "it out, or serve the whole organization with github_org"
            )
        if value is not None and register_for is not None:
            raise ValueError(
                f"{name} {value!r} and register_for {register_for!r} do not go together, a "
                "repository's runners have no groups: leave one of them out"
            )
    if image_runner_group is not None and image_runner_group == (runner_group or DEFAULT_GROUP):
        raise ValueError(
            f"image_runner_group {image_runner_group!r} is the group of all other runners too: "
            "name one of its own, that only repositories may use which may choose images"
        )


def check_choice(
    allowed_bases: Sequence[str],
    *,
    is_explicit: bool,
    register_for: RegisterFor | None,
    image_runner_group: str | None,
    scope: str,
) -> None:
    """Raise ``ValueError`` if jobs are to choose images that others' jobs would run in, or none.

    Args:
        allowed_bases: What they may choose.
        is_explicit: Whether somebody wrote that down. The default is not refused: only the jobs
            that choose an image then are.
        register_for: Where runners are registered.
        image_runner_group: The group of the runners in such images.
        scope: What is served.
    """
    if image_runner_group is not None and not allowed_bases:
        raise ValueError(
            f"image_runner_group {image_runner_group!r} is given and jobs may choose no image: "
            "leave it out, or let them"
        )
    is_shared = not scope.startswith("repos/") and register_for is None
    if is_explicit and allowed_bases and is_shared and image_runner_group is None:
        raise ValueError(
            f"allowed_bases {list(allowed_bases)!r} cannot be had in {scope}: GitHub may give a "
            "runner in an image of one job's choice the jobs of other repositories. Give "
            'register_for="repository", or an image_runner_group that only repositories may use '
            "which may choose images, or leave allowed_bases out: then jobs with image: are refused"
        )


def check_credentials(apps: Sequence[GitHubApp], *, has_token: bool, scope: str) -> None:
    """Raise ``ValueError`` if the credentials do not go together, or not with the scope."""
    if apps and has_token:
        raise ValueError(
            "github_token and github_apps given, give one of them: GitHub Apps need no token"
        )
    if apps and scope.startswith("enterprises/"):
        # GitHub docs, "REST API endpoints for self-hosted runners", enterprises
        raise ValueError(
            "github_apps cannot serve github_enterprise, GitHub lets no App manage an enterprise's "
            "runners: use github_token with a classic token that has manage_runners:enterprise, or "
            "a fleet with github_org for each organization"
        )
    ids = [str(app.app_id) for app in apps]
    if len(set(ids)) < len(ids):
        raise ValueError(f"github_apps {ids} names an App twice, name each once")


def check_api_url(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` can be the URL of a REST API.

    A server's own is at ``/api/v3``, with subdomain isolation too (GitHub docs, "Getting started
    with the REST API"). A host that begins with ``api.`` is taken at its word: it may be a proxy in
    front of GitHub's, which has no path. So is this machine: a stand-in may be there.
    """
    if Token.is_unresolved(value):
        return
    match = re.fullmatch(r"https?://([^\s/?#:]+)(:\d+)?(/[^\s?#]*)?", value)
    if match is None:
        raise ValueError(
            f"github_api_url {value!r} is not a URL, use https://api.github.com, "
            "https://api.<name>.ghe.com or https://<host>/api/v3"
        )
    host = match[1].lower()
    if host == "github.com" or (host.endswith(".ghe.com") and not host.startswith("api.")):
        raise ValueError(
            f"github_api_url {value!r} is where people look, the REST API is at https://api.{host}"
        )
    path = (match[3] or "").rstrip("/")
    if host == "api.github.com" or host.endswith(".ghe.com"):
        if path:
            raise ValueError(
                f"github_api_url {value!r} has a path, and there is no REST API: use https://{host}"
            )
    elif not host.startswith(("api.", "localhost", "127.")) and not path.endswith("/api/v3"):
        raise ValueError(
            f"github_api_url {value!r} is no REST API, a GitHub Enterprise Server has it at "
            f"/api/v3: use https://{match[1]}{match[2] or ''}/api/v3"
        )

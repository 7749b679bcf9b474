"""GitHub's side as it is given to a fleet: what is served, where, and as which App."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from aws_cdk import aws_kms as kms

from cdk_runner_fleet.values.labels import LabelRules
from cdk_runner_fleet.values.types import check_types, is_token

if TYPE_CHECKING:
    from aws_cdk import aws_secretsmanager as secretsmanager
    from aws_cdk import aws_ssm as ssm

REPOSITORY = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/"
    r"(?!\.{1,2}(?:/|\Z))(?![^/]*\.git(?:/|\Z))[A-Za-z0-9._-]{1,100}"
)
"""``owner/name``. Managed users' logins have an underscore (GitHub docs, "About Enterprise Managed
Users"), and no name ends with ``.git``."""
RegisterFor = Literal["repository"]
"""What each runner is registered for: the repository of the job that it is started for."""
PUBLIC_API = "https://api.github.com"
DEFAULT_GROUP = "Default"
"""GitHub's name for the group that every organization and every enterprise has."""
_THIS_MACHINE = ("localhost", "127.")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SCOPE = re.compile(r"(repos/[^/]+/[^/]+|(orgs|enterprises)/[^/]+)\Z")
_GROUP = re.compile(r"\S(.*\S)?")
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
        if self.kms_key is not None:
            _check_key(self.kms_key, of=self.app_id)
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


def check_field(name: str, value: str | None, *, of: str, given: bool) -> None:
    """Refuse the field of a secret that is not given, or that no field can be.

    Args:
        name: The parameter that names the field.
        value: What it says.
        of: The secret's parameter.
        given: Whether there is one.

    Raises:
        ValueError: then.
    """
    if value is None:
        return
    if not given:
        raise ValueError(
            f"{name} is {value!r} and there is no {of}: give {of}, a secret that is a JSON object, "
            "or leave it out: a secret that is made has no fields"
        )
    if not value:
        raise ValueError(f"{name} is empty: name a field, or leave it out if {of} is no JSON")


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """What a fleet serves at GitHub, and how it asks GitHub about that.

    One of three is served, and each takes what goes with it: :meth:`repository`,
    :meth:`organization`, :meth:`enterprise`.

    Attributes:
        scope: What is served, as the REST API's paths name it: ``repos/owner/name``.
        token: Secret with a personal access token. None if there are ``apps``, or one is made.
        token_field: Field of that secret, where it is JSON. None: all of it.
        apps: GitHub Apps to ask as, instead of with a token.
        api_url: The REST API.
        ca: The certificate authorities of a private server. None: the public ones.
        runner_group: Name of the group that runners join. None: GitHub's default group.
        register_for: What each runner is registered for. None: for what is served.
        image_runner_group: Name of the group of the runners whose job chose their image.
        label_rules: Which jobs are the fleet's.
        explain_jobs: Whether authors are told at the commit of jobs that cannot be served.
    """

    scope: str
    token: secretsmanager.ISecret | None = None
    token_field: str | None = None
    apps: Sequence[GitHubApp] = ()
    api_url: str = PUBLIC_API
    ca: ssm.IStringParameter | None = None
    runner_group: str | None = None
    register_for: RegisterFor | None = None
    image_runner_group: str | None = None
    label_rules: LabelRules = field(default_factory=LabelRules)
    explain_jobs: bool = True

    def __post_init__(self) -> None:
        """Check what holds for each of the three."""
        check_types(GitHub, vars(self))
        if not is_token(self.scope) and not _SCOPE.match(self.scope):
            raise ValueError(
                f"scope {self.scope!r} is none that a fleet can serve: make it with "
                'GitHub.repository("owner/name"), GitHub.organization(…) or GitHub.enterprise(…)'
            )
        _check_credentials(self.scope, self.apps, has_token=self.token is not None)
        check_field("token_field", self.token_field, of="token", given=self.token is not None)
        _check_registration(
            self.scope,
            register_for=self.register_for,
            runner_group=self.runner_group,
            image_runner_group=self.image_runner_group,
        )
        _check_api_url(self.api_url)

    @staticmethod
    def repository(
        repository: str,
        *,
        token: secretsmanager.ISecret | None = None,
        token_field: str | None = None,
        apps: Sequence[GitHubApp] = (),
        api_url: str = PUBLIC_API,
        ca: ssm.IStringParameter | None = None,
        required_labels: Sequence[str] = (),
        single_labels: Mapping[str, str] | None = None,
        explain_jobs: bool = True,
    ) -> GitHub:
        """Serve one repository, whose runners have no groups.

        Args:
            repository: The repository, ``owner/name``. Events of others are answered and ignored.
            token: Secret whose value is a personal access token that may manage the runners.
                Default: a secret with a meaningless value is made, to be replaced once, unless
                there are ``apps``.
            token_field: Field of that secret with the token, where it is a JSON object. Default:
                the token is all of it.
            apps: GitHub Apps to ask GitHub as, instead of with a token. Several share what GitHub
                lets each ask in an hour. The first is the one whose webhook points to the fleet,
                if an App's does.
            api_url: GitHub's REST API. Default: ``https://api.github.com``; GitHub Enterprise Cloud
                with data residency has ``https://api.<name>.ghe.com``, a GitHub Enterprise Server
                ``https://<host>/api/v3``.
            ca: Parameter with the certificate authorities of such a server, in PEM, which are then
                the only ones trusted. Default: the public ones. The runners trust what their image
                does.
            required_labels: What a job has to hold besides ``self-hosted`` to be this fleet's. Jobs
                without all of them are left alone, for other runners and other fleets; name one
                wherever there are some. Default: none.
            single_labels: Class names by a label that is a job's only one, as of the jobs that
                GitHub writes itself: ``{"dependabot": "medium", "code-scanning": "large"}``.
                Default: none.
            explain_jobs: Whether the author of a job that cannot be served is told so at the
                commit, with a check run or a commit status. Default: yes, where the credentials
                may.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if a value cannot work; the message says what would.
        """
        check_types(GitHub.repository, locals())
        if not is_token(repository) and not REPOSITORY.fullmatch(repository):
            raise ValueError(
                f"repository {repository!r} is none, give it as owner/name without .git, for "
                "example octo-org/octo-repo"
            )
        return GitHub(
            scope=f"repos/{repository}",
            token=token,
            token_field=token_field,
            apps=apps,
            api_url=api_url,
            ca=ca,
            label_rules=LabelRules(
                required_labels=required_labels, single_labels=single_labels or {}
            ),
            explain_jobs=explain_jobs,
        )

    @staticmethod
    def organization(
        organization: str,
        *,
        token: secretsmanager.ISecret | None = None,
        token_field: str | None = None,
        apps: Sequence[GitHubApp] = (),
        runner_group: str | None = None,
        register_for: RegisterFor | None = None,
        image_runner_group: str | None = None,
        api_url: str = PUBLIC_API,
        ca: ssm.IStringParameter | None = None,
        required_labels: Sequence[str] = (),
        single_labels: Mapping[str, str] | None = None,
        explain_jobs: bool = True,
    ) -> GitHub:
        """Serve all repositories of an organization.

        Args:
            organization: The organization's login.
            token: As for :meth:`repository`.
            token_field: As for :meth:`repository`.
            apps: As for :meth:`repository`.
            runner_group: Name of the runner group that the runners join. Default: GitHub's default
                group.
            register_for: ``repository`` to register each runner for the repository of the job that
                it is started for, so that no other repository's job gets it. It needs a permission
                to administer each repository, see ``docs/github-access.md``, and runners of a
                repository have no group. Default: runners are registered for the organization,
                and any job in it may get one.
            image_runner_group: Name of the runner group of those whose job chose its image, which
                only repositories may use that may choose images: that is said at GitHub. Default:
                a job that chooses an image is refused, unless ``register_for`` is ``repository``.
            api_url: As for :meth:`repository`.
            ca: As for :meth:`repository`.
            required_labels: As for :meth:`repository`.
            single_labels: As for :meth:`repository`.
            explain_jobs: As for :meth:`repository`.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if a value cannot work; the message says what would.
        """
        check_types(GitHub.organization, locals())
        if not is_token(organization) and not _LOGIN.fullmatch(organization):
            raise ValueError(
                f"organization {organization!r} is none, give its login as in "
                "https://github.com/<login>"
            )
        return GitHub(
            scope=f"orgs/{organization}",
            token=token,
            token_field=token_field,
            apps=apps,
            api_url=api_url,
            ca=ca,
            runner_group=runner_group,
            register_for=register_for,
            image_runner_group=image_runner_group,
            label_rules=LabelRules(
                required_labels=required_labels, single_labels=single_labels or {}
            ),
            explain_jobs=explain_jobs,
        )

    @staticmethod
    def enterprise(
        enterprise: str,
        *,
        token: secretsmanager.ISecret | None = None,
        token_field: str | None = None,
        runner_group: str | None = None,
        register_for: RegisterFor | None = None,
        image_runner_group: str | None = None,
        api_url: str = PUBLIC_API,
        ca: ssm.IStringParameter | None = None,
        required_labels: Sequence[str] = (),
        single_labels: Mapping[str, str] | None = None,
        explain_jobs: bool = True,
    ) -> GitHub:
        """Serve all organizations of an enterprise, with a token.

        GitHub lets no App manage an enterprise's runners (GitHub docs, "REST API endpoints for
        self-hosted runners"): a fleet for each organization can have Apps.

        Args:
            enterprise: The enterprise's slug.
            token: Secret whose value is a classic token with ``manage_runners:enterprise``.
                Default: a secret with a meaningless value is made, to be replaced once.
            token_field: As for :meth:`repository`.
            runner_group: As for :meth:`organization`.
            register_for: As for :meth:`organization`.
            image_runner_group: As for :meth:`organization`.
            api_url: As for :meth:`repository`.
            ca: As for :meth:`repository`.
            required_labels: As for :meth:`repository`.
            single_labels: As for :meth:`repository`.
            explain_jobs: As for :meth:`repository`.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if a value cannot work; the message says what would.
        """
        check_types(GitHub.enterprise, locals())
        if not is_token(enterprise) and not _SLUG.fullmatch(enterprise):
            raise ValueError(
                f"enterprise {enterprise!r} is none, give its slug as in "
                "https://github.com/enterprises/<slug>"
            )
        return GitHub(
            scope=f"enterprises/{enterprise}",
            token=token,
            token_field=token_field,
            api_url=api_url,
            ca=ca,
            runner_group=runner_group,
            register_for=register_for,
            image_runner_group=image_runner_group,
            label_rules=LabelRules(
                required_labels=required_labels, single_labels=single_labels or {}
            ),
            explain_jobs=explain_jobs,
        )

    @property
    def is_one_repository(self) -> bool:
        """Whether what is served is a repository alone, which shares with nobody."""
        return self.scope.startswith("repos/")

    def check_choice(self, allowed_bases: Sequence[str], *, is_explicit: bool) -> None:
        """Raise ``ValueError`` if jobs are to choose images that others' would run in, or none.

        Args:
            allowed_bases: What they may choose.
            is_explicit: Whether somebody wrote that down. The default is not refused: only the jobs
                that choose an image then are.
        """
        if self.image_runner_group is not None and not allowed_bases:
            raise ValueError(
                f"image_runner_group {self.image_runner_group!r} is given and jobs may choose no "
                "image: leave it out, or let them"
            )
        is_shared = not self.is_one_repository and self.register_for is None
        if is_explicit and allowed_bases and is_shared and self.image_runner_group is None:
            raise ValueError(
                f"allowed_bases {list(allowed_bases)!r} cannot be had in {self.scope}: GitHub may "
                "give a runner in an image of one job's choice the jobs of other repositories. "
                'Give register_for="repository", or an image_runner_group that only repositories '
                "may use which may choose images, or leave allowed_bases out: then jobs with "
                "image: are refused"
            )


def _check_key(key: kms.IKey, *, of: str | int) -> None:
    if hasattr(key, "alias_name"):
        raise ValueError(
            f"kms_key of GitHub App {of} is an alias, and IAM does not go by one: give the key "
            "that it stands for, such as kms.Key.from_key_arn(…)"
        )
    resource = key.node.default_child
    if isinstance(resource, kms.CfnKey):
        kind = (resource.key_spec or "SYMMETRIC_DEFAULT", resource.key_usage or "ENCRYPT_DECRYPT")
        if kind != ("RSA_2048", "SIGN_VERIFY") and not any(map(is_token, kind)):
            raise ValueError(
                f"kms_key of GitHub App {of} is a key of {kind[0]} for {kind[1]}, and an App signs "
                "with RSA_2048 for SIGN_VERIFY, into which its private key is imported: give such"
            )


def _check_registration(
    scope: str,
    *,
    register_for: RegisterFor | None,
    runner_group: str | None,
    image_runner_group: str | None,
) -> None:
    if register_for not in (None, *get_args(RegisterFor)):
        raise ValueError(
            f"register_for {register_for!r} is unknown, use 'repository', or leave it out: "
            "then runners are registered for what the fleet serves"
        )
    groups = {"runner_group": runner_group, "image_runner_group": image_runner_group}
    for name, value in groups.items():
        if value is not None and not is_token(value) and not _GROUP.fullmatch(value):
            raise ValueError(
                f"{name} {value!r} is no group's name, give it as GitHub shows it, in one line and "
                "without blanks around it, or leave it out"
            )
        if value is not None and scope.startswith("repos/"):
            raise ValueError(
                f"{name} {value!r} cannot be had for {scope}, a repository's runners have no "
                "groups: leave it out, or serve an organization"
            )
        if value is not None and register_for is not None:
            raise ValueError(
                f"{name} {value!r} and register_for {register_for!r} do not go together, a "
                "repository's runners have no groups: leave one of them out"
            )
    others = runner_group or DEFAULT_GROUP
    # in whatever case: what one job's author chose must never meet others' secrets
    if image_runner_group is not None and image_runner_group.lower() == others.lower():
        raise ValueError(
            f"image_runner_group {image_runner_group!r} is the group of all other runners too: "
            "name one of its own, that only repositories may use which may choose images"
        )


def _check_credentials(scope: str, apps: Sequence[GitHubApp], *, has_token: bool) -> None:
    if apps and scope.startswith("enterprises/"):
        raise ValueError(
            f"apps are given for {scope}, and GitHub lets no App manage an enterprise's runners: "
            "give a token, or serve each organization by a fleet of its own"
        )
    if apps and has_token:
        raise ValueError("token and apps given, give one of them: GitHub Apps need no token")
    ids = [str(app.app_id) for app in apps]
    if len(set(ids)) < len(ids):
        raise ValueError(f"apps {ids} names an App twice, name each once")


def _check_api_url(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` can be the URL of a REST API.

    A server's own is at ``/api/v3``, with subdomain isolation too (GitHub docs, "Getting started
    with the REST API"). A host that begins with ``api.`` is taken at its word: it may be a proxy in
    front of GitHub's, which has no path. So is this machine: a stand-in may be there.
    """
    if is_token(value):
        return
    match = re.fullmatch(r"https?://([^\s/?#:]+)(:\d+)?(/[^\s?#]*)?", value)
    if match is None or int((match[2] or ":443")[1:]) not in range(1, 65536):
        raise ValueError(
            f"api_url {value!r} is not a URL, use https://api.github.com, "
            "https://api.<name>.ghe.com or https://<host>/api/v3"
        )
    host = match[1].lower()
    if value.startswith("http:") and not host.startswith(_THIS_MACHINE):
        raise ValueError(f"api_url {value!r} would send the credentials in clear text: use https")
    if host == "github.com" or (host.endswith(".ghe.com") and not host.startswith("api.")):
        raise ValueError(
            f"api_url {value!r} is where people look, the REST API is at https://api.{host}"
        )
    path = (match[3] or "").rstrip("/")
    if host == "api.github.com" or host.endswith(".ghe.com"):
        if path:
            raise ValueError(
                f"api_url {value!r} has a path, and there is no REST API: use https://{host}"
            )
    elif not host.startswith(("api.", *_THIS_MACHINE)) and not path.endswith("/api/v3"):
        raise ValueError(
            f"api_url {value!r} is no REST API, a GitHub Enterprise Server has it at "
            f"/api/v3: use https://{match[1]}{match[2] or ''}/api/v3"
        )

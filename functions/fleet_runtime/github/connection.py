"""How GitHub is reached and who asks there, as a function's settings have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet_runtime.job.scope import Scope


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App.

    Attributes:
        app_id: Its id.
        private_key_secret_arn: Where its private key is kept; empty if that never leaves KMS.
        kms_key_id: The key in KMS; empty if there is a secret.
        installation_id: Its installation in the scope. Default: it is looked up.
    """

    app_id: str
    private_key_secret_arn: str = ""
    kms_key_id: str = ""
    installation_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where GitHub is, what is served there, and who asks.

    Attributes:
        github_api_url: The REST API.
        github_scope: What is served.
        github_token_secret_arn: Where the token is kept; empty if there are Apps.
        github_token_field: In which field, where that is JSON; empty if it is all of it.
        github_apps: The Apps, the first one being the webhook's.
        github_permissions: All that this function's installation tokens may do. None: nothing.
        runner_group: Name of the runners' group; empty for the default one.
        image_runner_group: The same of those whose job chose their image; empty for no other one.
        github_ca_param: Where the certificate authority is kept; empty for the system's.
    """

    github_api_url: str
    github_scope: Scope
    github_token_secret_arn: str = ""
    github_token_field: str = ""
    github_apps: tuple[App, ...] = ()
    github_permissions: Mapping[str, str] | None = None
    runner_group: str = ""
    image_runner_group: str = ""
    github_ca_param: str = ""

"""The whole fleet on this machine: the real stack in emulated AWS, with a stand-in for GitHub."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from cdk_runner_fleet.local.assembly import GITHUB_URL_PARAMETER, STACK, Synthesis
from cdk_runner_fleet.local.deploy import bootstrap, deploy
from cdk_runner_fleet.local.emulator.buildah import missing_tools
from cdk_runner_fleet.local.emulator.options import ACCOUNT, REGION, Images
from cdk_runner_fleet.local.errors import LocalFleetError, SettingsError
from cdk_runner_fleet.local.github import LocalGitHub, settle
from cdk_runner_fleet.local.processes import child, undisturbed
from cdk_runner_fleet.local.twin import GitHubTwin
from cdk_runner_fleet.local.twin.workflows import Workflow

__all__ = ["LocalFleet"]

_CONTROL_SECONDS = 60.0
# a proxy of the environment does not lead to this machine
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalFleet:
    """A fleet that lives as long as its `with` block; nothing of it is left afterwards.

    Its servers listen on loopback, where other users' programs and web pages reach them too: each
    call to AWS is signed with a secret that is made for this fleet, the routes that steer emulated
    AWS and the twin ask for its control token, and requests of web pages are not answered.

    Synthesizes the stack of `app.py`, or takes the assembly that was kept when it last did with the
    same settings and sources, deploys the template into the emulator and starts the GitHub twin.

    Args:
        context: Settings by their names in `cdk.json`, stronger than those of a `cdk.json` in the
            working directory.
        port: Loopback port of emulated AWS. Default: a free one.
        github_url: REST API of a server to take for GitHub. Default: the twin.
        webhook_secret: What deliveries are signed with. Default: a random one.
        errors: Where the emulator's log goes. Default: to stderr.
        images: "buildah" builds the images that jobs ask for, and runs tasks in them; "none" runs
            tasks on this machine as it is.

    Attributes:
        endpoint_url: Every AWS service answers here.
        access_key_id: An administrator's access key there.
        secret_access_key: The secret to that.
        control_token: What routes below `/_fleet/` and `/_twin/` ask for, see `control`.
        region: The AWS region.
        github_url: GitHub's REST API, for the fleet.
        webhook_secret: What deliveries have to be signed with.
        webhook_url: Where deliveries go; any HTTP client reaches it.
        outputs: The stack's outputs.
        twin: The GitHub twin; None if `github_url` was given.

    Raises:
        SettingsError: from `__enter__`: a setting or the port cannot be used.
        LocalFleetError: from `__enter__`: a part did not start.

    Example:
        >>> with LocalFleet(context={"idle_timeout_seconds": 2}) as fleet:
        ...     fleet.client("dynamodb").scan(TableName=fleet.outputs["RunnerTableName"])["Items"]
        []
    """

    def __init__(
        self,
        *,
        context: Mapping[str, object] | None = None,
        port: int = 0,
        github_url: str | None = None,
        webhook_secret: str | None = None,
        errors: IO[bytes] | None = None,
        images: Images = "none",
    ) -> None:
        _check(context or {})
        if github_url and urlsplit(github_url).scheme not in ("http", "https"):
            raise SettingsError(
                f"github_url {github_url!r} is not a URL, use one such as http://127.0.0.1:3000"
            )
        if images == "buildah" and (missing := missing_tools()):
            raise SettingsError(missing)
        self.region = REGION
        self.endpoint_url = f"http://127.0.0.1:{_usable(port)}"
        self.github_url = github_url or ""
        self.webhook_secret = webhook_secret or secrets.token_hex(20)
        self.access_key_id = self.secret_access_key = self.control_token = ""
        self.outputs: dict[str, str] = {}
        self.twin: GitHubTwin | None = None
        self._given = context or {}
        self._deployments = itertools.count()
        self._private_keys: Mapping[str, str] = {}
        self._token = f"ghp_{secrets.token_hex(18)}"
        self._errors = errors
        self._images = images
        self._parts = ExitStack()
        self._session: Any = boto3.Session(region_name=REGION)
        self._clients: dict[str, Any] = {}

    @property
    def webhook_url(self) -> str:
        """Where GitHub's deliveries go."""
        return self.outputs["WebhookUrl"]

    def client(self, service: str) -> Any:
        """A boto3 client of an emulated AWS service, with an administrator's credentials."""
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self.endpoint_url,
                aws_access_key_id=self.access_key_id,
                aws_secret_access_key=self.secret_access_key,
                config=Config(
                    retries={"total_max_attempts": 3},
                    inject_host_prefix=False,
                    proxies={},  # a proxy of the environment does not lead to this machine
                    s3={"addressing_style": "path"},
                ),
            )
        return self._clients[service]

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Steer emulated AWS or the twin; returns the answer's JSON.

        Args:
            method: The HTTP method.
            path: The route, below `/_fleet/` or `/_twin/`.
            body: What to send as JSON. Default: nothing.

        Raises:
            LocalFleetError: it is for the twin, and this fleet has none.
            urllib.error.HTTPError: it was refused.
        """
        base = self.endpoint_url
        if path.startswith("/_twin/"):
            if self.twin is None:  # the server in its place is not to know the token
                raise LocalFleetError(f"{path} is the twin's, start the fleet without github_url")
            base = self.twin.url
        request = urllib.request.Request(  # noqa: S310 - both are http, see __init__
            f"{base}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.control_token}"},
            method=method,
        )
        with _DIRECTLY.open(request, timeout=_CONTROL_SECONDS) as answer:
            return json.loads(answer.read())

    def queue_run(self, workflow: Workflow, *, file_name: str) -> int:
        """Queue a run of a workflow at the twin; its checkout is the working directory.

        Args:
            workflow: The workflow, read.
            file_name: The name of its file.

        Returns:
            The run's id.

        Raises:
            LocalFleetError: this fleet has no twin.
        """
        if self.twin is None:
            raise LocalFleetError("runs are queued at the twin, start the fleet without github_url")
        run = self.twin.board.queue_run(
            workflow,
            file_name=file_name,
            workspace=str(Path.cwd()),
            protected_environments=frozenset(),
        )
        return run.id

    def update(self, context: Mapping[str, object]) -> None:
        """Deploy the fleet anew with other settings, as `cdk deploy` does; its jobs go on.

        Args:
            context: All of its settings, as for a new fleet.

        Raises:
            SettingsError: a setting cannot be used.
            LocalFleetError: the stack was not updated, and is as it was before.
        """
        _check(context)
        with Synthesis(self._next_folder(), settle(_cdk_json_context(), context)) as synthesis:
            self._deploy(synthesis.result())

    def __enter__(self) -> LocalFleet:
        try:
            self._start(self._parts)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        with undisturbed():
            self._parts.close()

    def _start(self, parts: ExitStack) -> None:
        with undisturbed():
            self._folder = Path(
                parts.enter_context(
                    tempfile.TemporaryDirectory(prefix="runner-fleet-", ignore_cleanup_errors=True)
                )
            )
        context = settle(_cdk_json_context(), self._given)
        if not self.github_url:
            github = LocalGitHub.of(context)
            self._private_keys = github.private_keys
            self.twin = parts.enter_context(
                GitHubTwin(
                    repository=github.repository,
                    token=self._token,
                    webhook_secret=self.webhook_secret,
                    apps=github.apps,
                    enterprise=github.enterprise,
                    runner_groups=github.runner_groups,
                )
            )
            if github.image_group_id is not None:
                of_repository = frozenset({github.repository.casefold()})
                self.twin.board.group_repositories[github.image_group_id] = of_repository
            self.github_url = self.twin.url
        # both may take seconds, so they start side by side
        synthesis = parts.enter_context(Synthesis(self._next_folder(), context))
        self._start_emulator(parts)
        bootstrap(self, account=ACCOUNT, region=REGION)
        self._deploy(synthesis.result())
        self._fill_secrets()
        if self.twin:
            self.twin.webhook_url = self.webhook_url

    def _next_folder(self) -> Path:
        folder = self._folder / f"deployment-{next(self._deployments)}"
        folder.mkdir()
        return folder

    def _deploy(self, assembly: Path) -> None:
        parameters = {GITHUB_URL_PARAMETER: self.github_url.rstrip("/")}
        self.outputs = deploy(self, assembly, stack=STACK, parameters=parameters)

    def _start_emulator(self, parts: ExitStack) -> None:
        port = self.endpoint_url.rpartition(":")[2]
        emulator = parts.enter_context(
            child(
                "cdk_runner_fleet.local.emulator",
                *("--port", port),
                *("--tasks-dir", str(self._folder / "tasks")),
                *("--parent-pid", str(os.getpid())),
                *("--images", self._images),
                environment=os.environ,
                folder=self._folder,
                errors=self._errors,
            )
        )
        assert emulator.stdout is not None  # noqa: S101 - narrows the type
        line = emulator.stdout.readline()
        if not line:
            raise LocalFleetError(
                f"the emulator ended with status {emulator.wait()} before it was ready: see its log"
            )
        ready = json.loads(line)
        self.access_key_id = ready["access_key_id"]
        self.secret_access_key = ready["secret_access_key"]
        self.control_token = ready["control_token"]
        if self.twin:
            self.twin.control_token = self.control_token

    def _fill_secrets(self) -> None:
        manager = self.client("secretsmanager")
        for output, value in (
            ("WebhookSecretArn", self.webhook_secret),
            ("GithubTokenSecretArn", self._token),
        ):
            if output in self.outputs:  # a fleet with GitHub Apps has no token
                manager.put_secret_value(SecretId=self.outputs[output], SecretString=value)
        for name, private_key in self._private_keys.items():
            manager.create_secret(Name=name, SecretString=private_key)


def _check(context: Mapping[str, object]) -> None:
    if "github_api_url" in context:
        raise SettingsError("github_api_url is this fleet's own, name a server with github_url")


def _usable(port: int) -> int:
    """The port, or a free one for 0; raises SettingsError if something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"port {port} cannot be used ({error}), 0 picks a free one"
            ) from error
        found: int = probe.getsockname()[1]
        return found


def _cdk_json_context() -> dict[str, object]:
    """The context of a `cdk.json` in the working directory: the fleet as its user has set it."""
    path = Path("cdk.json")
    if not path.is_file():
        return {}
    try:
        context = json.loads(path.read_text()).get("context", {})
    except (AttributeError, ValueError) as error:
        raise SettingsError(f"{path.resolve()} is not a cdk.json: {error}") from error
    return dict(context)

"""Where a task has its role's credentials from: on Fargate a link-local address, here a path.

The address cannot be guessed, and ECS tells it to the task alone. The session is named after the
task (aws/amazon-ecs-agent#3498).
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import access
from .options import Options

_LIFETIME_SECONDS = 6 * 3600


@dataclass(frozen=True, kw_only=True)
class _Lent:
    role: str
    keys: access.Keys
    token: str


class TaskCredentials:
    """The credentials of the tasks that run.

    Args:
        options: Where the emulator is.
    """

    PATH = "/_task/credentials/"

    def __init__(self, options: Options) -> None:
        self._endpoint = options.endpoint
        self._lock = threading.Lock()
        self._lent: dict[str, _Lent] = {}

    @contextmanager
    def lent(self, task_arn: str, role: str) -> Iterator[dict[str, str]]:
        """Lend a task its role's credentials while it runs.

        Args:
            task_arn: The task.
            role: The role's ARN; empty for a task without one.

        Yields:
            What its environment says about them.
        """
        if not role:
            yield {}
            return
        task_id = task_arn.rpartition("/")[2]
        address, token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        keys = access.role_session(role, session_name=task_id)
        with self._lock:
            self._lent[address] = _Lent(role=role, keys=keys, token=token)
        try:
            yield {
                # the SDKs take this one from loopback; ECS gives a path on 169.254.170.2 instead
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self._endpoint}{self.PATH}{address}",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
                # for those that hold them: whatever the SDKs call is here
                "AWS_ENDPOINT_URL": self._endpoint,
            }
        finally:
            with self._lock:
                del self._lent[address]

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, Any]]:
        """Answer a task that asks for its credentials: status and document."""
        with self._lock:
            lent = self._lent.get(path.removeprefix(self.PATH))
        if lent is None or not hmac.compare_digest(authorization.encode(), lent.token.encode()):
            return 403, {"code": "AccessDenied", "message": "not the credentials of this task"}
        expires = time.gmtime(time.time() + _LIFETIME_SECONDS)
        return 200, {
            "RoleArn": lent.role,
            "AccessKeyId": lent.keys.access_key_id,
            "SecretAccessKey": lent.keys.secret_access_key,
            "Token": lent.keys.session_token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", expires),
        }

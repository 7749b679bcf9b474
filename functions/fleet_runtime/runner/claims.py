"""A task claims its registration at GitHub: once, at the moment it has booted.

It signs the claim as the session of its role, see ``task_session``. A second claim of the same task
is an answer that was lost, or somebody who got hold of its credentials. The first registration is
worth nothing to the task in both cases, so it is taken back.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime.aws.items import Value
from fleet_runtime.github import remedies
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.jobs import get_job
from fleet_runtime.github.message import GitHubError, GitHubRefused, GitHubUnavailable
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.github.runners import Removal
from fleet_runtime.job.job import LONGEST_QUEUED_SECONDS
from fleet_runtime.observability import count, logger
from fleet_runtime.runner.reports import Declaration
from fleet_runtime.runner.rows import Runner, RunnerRecords
from fleet_runtime.runner.signals import Signals
from fleet_runtime.runner.task_session import TaskRoles, TaskSession

_NOT_PARKED_SECONDS = 1
"""The lifecycle parks within a second of starting the task."""
GITHUB_SECONDS = 20.0
"""For all that GitHub is asked about a runner at a time: the rest of a Lambda's 30 s is for AWS."""
_LONGEST_RETRY_AFTER_SECONDS = 60
"""A task that waits is billed, and its job may be cancelled meanwhile: it asks again, GitHub's
limits notwithstanding, which this process keeps without asking GitHub."""


@dataclass(frozen=True, kw_only=True)
class Granted:
    """The claim is good. Both texts are credentials."""

    encoded_jit_config: str = field(repr=False)
    events_token: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Denied:
    """The claim is not good.

    Attributes:
        status: 403 another task, 404 no such runner, 409 claimed before, 410 not wanted any more,
            503 not just now.
        reason: What the task logs.
        retry_after: Seconds to wait before claiming again, with a 503.
    """

    status: int
    reason: str
    retry_after: int = 0


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Answers claims: rows on one side, GitHub on the other."""

    records: RunnerRecords
    signals: Signals
    github: GitHub
    registrations: Registrations
    task_roles: TaskRoles

    def claim(
        self, runner_id: str, *, session: TaskSession, declaration: Declaration
    ) -> Granted | Denied:
        """Register a runner just in time for its task, if that is who asks."""
        runner = self.records.find(runner_id)
        if runner is None:
            return Denied(status=404, reason="no such runner")
        if denied := self._denied(runner, session):
            return denied
        if not self.records.take_claim(runner, values=_declared(declaration)):
            # somebody was faster by a moment: the row says who
            runner = self.records.find(runner_id) or runner
            return self._denied(runner, session) or _gone("its lifecycle has gone on")
        try:
            with self.github.within(GITHUB_SECONDS):
                return self._use_claim(runner, declaration)
        except (BotoCoreError, ClientError):
            # AWS, not the runner, is at fault: it may ask again
            self.records.return_claim(runner)
            raise

    def _denied(self, runner: Runner, session: TaskSession) -> Denied | None:
        if not runner.task_id and runner.is_over:
            return _gone("its lifecycle has ended")
        if not runner.task_id or runner.is_between_tasks:
            # not about its first task yet, or still about the one that stopped
            return Denied(status=503, reason="not waiting yet", retry_after=_NOT_PARKED_SECONDS)
        if not session.is_of(runner.task_id) or not self.task_roles.may_be(
            session.role, of_class=runner.class_name
        ):
            return Denied(status=403, reason="another task than the runner's own")
        if runner.claimed_at is not None:
            self._take_back(runner)
            return Denied(status=409, reason="claimed already")
        if runner.is_over:
            return _gone("its lifecycle has gone on")
        return None

    def _take_back(self, runner: Runner) -> None:
        """Make a registration worthless that was claimed twice; one under way looks at the row."""
        noted = self.records.note_repeated_claim(runner)
        if noted is None:
            return
        removal = None
        if noted.github_runner_id is not None:
            with self.github.within(GITHUB_SECONDS):
                removal = self._unregister(noted, noted.github_runner_id)
        logger.error(
            "claim repeated",
            runner_id=noted.runner_id,
            task=noted.task_id,
            removal=removal and removal.value,
        )
        count("ClaimRepeated")

    def _use_claim(self, runner: Runner, declaration: Declaration) -> Granted | Denied:
        # before anything is asked of GitHub: a runner that cannot do its job is not registered
        if missing := [need for need in runner.needs if need not in declaration.capabilities]:
            return self._refuse_image(runner, declaration, missing=", ".join(missing))
        if self._is_job_gone(runner):
            self.signals.released(
                runner.runner_id,
                cause="the job had ended before its runner was there",
                values={},
                first={},
            )
            return _gone("its job has ended")
        return self._register(runner, heartbeat_seconds=declaration.heartbeat_seconds)

    def _refuse_image(self, runner: Runner, declaration: Declaration, *, missing: str) -> Denied:
        found = ", ".join(declaration.capabilities) or "nothing"
        cause = (
            f"the job asks for {missing}, and image {runner.image_tag} declares {found}: ask for "
            "an image that has it, with image:, or take the label out of runs-on; if the image "
            "does have it, set RUNNER_CAPABILITIES in it"
        )
        self.signals.capability_missing(runner, cause=cause)
        logger.error("capability missing", runner_id=runner.runner_id, cause=cause)
        count("CapabilityMissing")
        return _gone(f"its image does not declare {missing}")

    def _is_job_gone(self, runner: Runner) -> bool:
        if runner.job_id is None or not runner.repository:
            return False
        request = get_job(repository=runner.repository, job_id=runner.job_id)
        try:
            job = self.github.ask(request)
        except GitHubError as error:
            # fail open: a runner too many costs cents, a runner too few a job
            logger.warning("job not found", runner_id=runner.runner_id, error=str(error))
            return False
        if job.status != "completed":
            return False
        # its own name: a task of this runner before this one has done it. Of another's it may have
        # the job instead, but for none that is as old
        ended_at = job.completed_at or job.created_at or 0
        is_old = 0 < ended_at < self.records.now - LONGEST_QUEUED_SECONDS
        return is_old or job.runner_name in (None, runner.runner_id)

    def _register(self, runner: Runner, *, heartbeat_seconds: int) -> Granted | Denied:
        try:
            registration = self.registrations.register(
                name=runner.runner_id,
                labels=runner.runner_labels,
                registered_for=runner.registered_for,
                class_name=runner.class_name,
            )
        except GitHubUnavailable as error:
            self.records.return_claim(runner)
            logger.warning("github unavailable", runner_id=runner.runner_id, error=str(error))
            count("GitHubUnavailable")
            return Denied(
                status=503,
                reason="GitHub is not available",
                retry_after=min(error.retry_after, _LONGEST_RETRY_AFTER_SECONDS),
            )
        except GitHubRefused as error:
            remedy = remedies.of_registration(error)
            cause = f"the runner could not be registered: {error}{remedy and f' ({remedy})'}"
            self.signals.registration_refused(runner, cause=cause)
            logger.error("registration refused", runner_id=runner.runner_id, error=str(error))
            count("RegistrationRefused")
            return _gone("GitHub refused its registration")
        events_token = secrets.token_urlsafe(32)
        if self.signals.claimed(
            runner,
            github_runner_id=registration.github_runner_id,
            events_token_hash=digest(events_token),
            heartbeat_seconds=heartbeat_seconds,
        ):
            logger.info("claimed", runner_id=runner.runner_id)
            return Granted(
                encoded_jit_config=registration.encoded_jit_config, events_token=events_token
            )
        self._unregister(runner, registration.github_runner_id)
        return _gone("its lifecycle has gone on")

    def _unregister(self, runner: Runner, github_runner_id: int) -> Removal | None:
        try:
            return self.registrations.remove(
                name=runner.runner_id,
                github_runner_id=github_runner_id,
                registered_for=runner.registered_for,
            )
        except GitHubError as error:
            # GitHub removes an ephemeral runner that never connected by itself within a day
            logger.warning("runner not removed", runner_id=runner.runner_id, error=str(error))
            return None


def digest(token: str) -> str:
    """Hash a token the way rows keep it."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


def is_token(token: str, *, hashed: str) -> bool:
    """Compare a token with its hash in constant time; an empty hash fits nothing."""
    return bool(hashed) and hmac.compare_digest(digest(token), hashed)


def _declared(declaration: Declaration) -> dict[str, Value]:
    values: dict[str, Value] = {}
    if declaration.capabilities:
        values["capabilities"] = ",".join(declaration.capabilities)
    if declaration.runner_version:
        values["runner_version"] = declaration.runner_version
    return values


def _gone(reason: str) -> Denied:
    return Denied(status=410, reason=f"the runner is not wanted any more: {reason}")

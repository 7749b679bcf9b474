"""Has images built, once for everyone who waits for them and no more at a time than may be.

Each step can die after any of its calls. What it was about to do is then done by whoever comes
next: the same one when it is tried again, the next job that wants an image, the end of any build,
a waiter that has heard nothing for as long as a build takes, or the daily upkeep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images import releases as release
from fleet_runtime.images.build_turns import BuildNotStarted, BuildTurns, Turn, Turns
from fleet_runtime.images.codebuild import (
    Build,
    BuildPostponedError,
    BuildProjects,
    BuildRefusedError,
)
from fleet_runtime.images.families import Families
from fleet_runtime.images.registry import ImageRegistry
from fleet_runtime.images.releases import Release, Releases
from fleet_runtime.images.rows import RETRY_SECONDS, Built, Image, ImageRecords, ImageRow
from fleet_runtime.observability import count, gauge, logger
from fleet_runtime.runner.rows import RunnerRecords
from fleet_runtime.runner.signals import Signals

_REGISTER_SECONDS = 60
"""How long making a family may take."""
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """Why a build did not start, and whether it may have done so for all that."""

    tag: str
    error: str
    is_unclear: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of ``build_image``.

    Attributes:
        max_builds: How many builds there may be at a time, at least 1.
        image_build_projects: CodeBuild's projects by architecture.
        runner_release: The library's own release of the runner.
        build_default_image: Whether the default image is built, not a ready one.

    Raises:
        ValueError: if ``max_builds`` is 0: nothing would ever be built.
    """

    image_table: str
    runner_table: str
    ledger_table: str
    max_builds: int
    image_build_projects: Mapping[str, str]
    runner_release: Release
    build_default_image: bool
    ecr_repository_name: str
    runner_repository_url: str
    task_definition_arn: str
    task_family: str
    default_image_base: str
    runner_image_tag: str
    image_recipe: str
    image_build_timeout_seconds: int

    def __post_init__(self) -> None:
        if self.max_builds == 0:
            raise ValueError("max_builds is 0, it must be more, as nothing would ever be built")


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds images and makes the task-definition families that launch them."""

    config: Settings
    images: ImageRecords
    ledger: Ledger
    turns: BuildTurns
    signals: Signals
    projects: BuildProjects
    registry: ImageRegistry
    families: Families
    runners: RunnerRecords

    @classmethod
    def of(cls, config: Settings) -> Builder:
        """Make it from the function's settings."""
        dynamodb = client("dynamodb")
        ledger = Ledger(dynamodb=dynamodb, table=config.ledger_table)
        runners = RunnerRecords(dynamodb=dynamodb, table=config.runner_table)
        return cls(
            config=config,
            images=ImageRecords(dynamodb=dynamodb, table=config.image_table),
            ledger=ledger,
            turns=BuildTurns(ledger=ledger, most=config.max_builds),
            signals=Signals(records=runners, stepfunctions=client("stepfunctions")),
            projects=BuildProjects(
                codebuild=client("codebuild"),
                projects=config.image_build_projects,
                timeout_seconds=config.image_build_timeout_seconds,
            ),
            registry=ImageRegistry(
                ecr=client("ecr"),
                repository=config.ecr_repository_name,
                url=config.runner_repository_url,
            ),
            families=Families(ecs=client("ecs"), base=config.task_definition_arn),
            runners=runners,
        )

    def request(
        self, image: Image, *, owner: str, runner_id: str = "", is_gone: bool = False
    ) -> ImageRow:
        """See to it that somebody builds an image, if it is not there.

        Args:
            image: The image.
            owner: Who asks: the same when it is tried again.
            runner_id: The runner that waits for it; empty if none does.
            is_gone: Whether a READY image could not be found when it was launched.

        Returns:
            The image's row. Its status is READY, QUEUED, BUILDING or FAILED; everyone who waits
            has then been told of READY and FAILED.

        Raises:
            BuildNotStarted: if its build cannot be started just now.
        """
        for _ in range(_TRIES):
            row = self.images.find(image.tag)
            if row.status == "BUILDING" and row.build_id and not row.is_leased(self.images.now):
                self._review_or_advance(row, owner)
                row = self.images.find(image.tag)
            if settled := self._settled(row, image, owner=owner, is_gone=is_gone):
                return settled
            if row.is_leased(self.images.now) or self.images.queue(
                image, seen=row, seconds=self._lease, runner_id=runner_id
            ):
                break
        self.turns.change(lambda turns: turns.ask(image.tag, is_rebuild=False))
        self.advance(owner, wanted=image.tag)
        return self.images.find(image.tag)

    def ended(self, tag: str, *, build_id: str, owner: str) -> None:
        """Handle the end of a build, and start those that have waited for it.

        Args:
            tag: The image.
            build_id: ARN of the build.
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if none of those can be started just now.
        """
        build = self.projects.find(build_id)
        if build is None or build.is_running:
            # its event can be faster than CodeBuild's own list of builds
            raise BuildNotStarted(f"CodeBuild does not know yet how {build_id} has ended")
        try:
            self._end(tag, build)
        except (BotoCoreError, ClientError):
            # the others do not wait for this one
            self.advance(owner)
            raise
        self.advance(owner)

    def advance(self, owner: str, *, wanted: str = "") -> None:
        """Look after builds that should have ended, and start as many of the next as may be.

        Args:
            owner: Who asks: the same when it is tried again.
            wanted: The image that it is for.

        Raises:
            BuildNotStarted: if ``wanted`` cannot be started just now, or another cannot, or could
                not be looked after, and no end of a build will have it tried again.
        """
        failure = self._review_expired()
        failure = self._start_next(owner) or failure
        turns = self.turns.read()
        gauge("BuildsWaiting", turns.waiting)
        is_last = not turns.is_any_under_way(self.images.now)
        if failure and (failure.tag == wanted or failure.is_unclear or is_last):
            raise BuildNotStarted(f"{failure.tag} cannot be built just now: {failure.error}")

    def rebuild(self, row: ImageRow) -> None:
        """Get in line to build a READY image anew."""
        if self.images.queue_rebuild(row):
            self.turns.change(lambda turns: turns.ask(row.tag, is_rebuild=True))

    @property
    def _lease(self) -> int:
        return self.config.image_build_timeout_seconds

    @property
    def releases(self) -> Releases:
        """What is known of the runner's releases."""
        return Releases.from_item(self.ledger.get(release.ENTRY), pin=self.config.runner_release)

    def _settled(
        self, row: ImageRow, image: Image, *, owner: str, is_gone: bool
    ) -> ImageRow | None:
        """Return the row if there is nothing to build; everyone who waits has been told."""
        if row.status == "READY":
            if row.family == image.family and not is_gone:
                self._tell(row)
                return row
            # the registry decides
            return self._moved(row, image, owner) if self.registry.has(row.digest) else None
        if row.status == "FAILED" and row.retry_at > self.images.now:
            self._tell(row)
            return row
        return row if row.status == "BUILDING" and row.is_leased(self.images.now) else None

    def _moved(self, row: ImageRow, image: Image, owner: str) -> ImageRow:
        """Launch a READY image by another family: that of a task definition since replaced."""
        lease = f"register/{image.family}"
        if not self.ledger.take_lease(lease, owner=owner, seconds=_REGISTER_SECONDS):
            # whoever makes the family tells everyone
            return replace(row, status="BUILDING")
        revision = self._register(image.family, digest=row.digest, architecture=row.architecture)
        moved = self.images.moved(row, family=image.family, revision=revision)
        if moved:
            self._tell(moved)
        self.ledger.drop_lease(lease, owner=owner)
        return moved or self.images.find(row.tag)

    def _review_or_advance(self, row: ImageRow, owner: str) -> None:
        try:
            self._review(row.tag, row.build_id)
        except (BotoCoreError, ClientError):
            # the others do not wait for this one
            self.advance(owner)
            raise

    def _review_expired(self) -> _Failure | None:
        """Look after builds that should have ended; returns the last that this failed with."""
        failure = None
        for turn in self.turns.expired():
            try:
                self._review(turn.tag, turn.build_id)
            except (BotoCoreError, ClientError) as error:
                # it keeps its turn, and the others theirs
                logger.exception("build not looked after", image_tag=turn.tag)
                failure = _Failure(tag=turn.tag, error=str(error), is_unclear=False)
        return failure

    def _start_next(self, owner: str) -> _Failure | None:
        while turn := self.turns.take(owner):
            if failure := self._start(turn):
                logger.warning("build not started", image_tag=turn.tag, error=failure.error)
                return failure
        return None

    def _start(self, turn: Turn) -> _Failure | None:
        until = self.images.now + self._lease
        row = self.images.find(turn.tag)
        if row.running:
            # whoever started it died before it was noted here
            if row.status == "BUILDING":
                self._link(row)
            self.turns.change(lambda turns: turns.started(turn.tag, row.running, until=until))
            return None
        if not row.awaits_build:
            self._give_up_turn(turn.tag, lambda turns: turns.drop(turn.tag))
            return None
        releases = self.releases
        version = releases.current.version
        if since := releases.dead([version], now=self.images.now).get(version):
            self._fail(
                row.tag, build_id="", error=_dead(version, since), log_url="", retry_seconds=0
            )
            self._give_up_turn(turn.tag, lambda turns: turns.drop(turn.tag))
            return None
        try:
            build_id, log_url = self.projects.start(row, release=releases.current, token=turn.token)
        except BuildRefusedError as error:
            self._fail(row.tag, build_id="", error=str(error), log_url="")
            self._give_up_turn(turn.tag, lambda turns: turns.drop(turn.tag))
            return None
        except BuildPostponedError as error:
            self.turns.change(lambda turns: turns.put_back(turn.tag))
            return _Failure(tag=turn.tag, error=str(error), is_unclear=False)
        except (BotoCoreError, ClientError) as error:
            # there may be a build: the turn and its token stay, for the same one to try again
            return _Failure(tag=turn.tag, error=str(error), is_unclear=True)
        noted = self.images.started(row, build_id=build_id, log_url=log_url, seconds=self._lease)
        if noted:
            self._link(noted)
        self.turns.change(lambda turns: turns.started(turn.tag, build_id, until=until))
        logger.info(
            "build started",
            image_tag=row.tag,
            image_base=row.base,
            architecture=row.architecture,
            runner_version=version,
            build_id=build_id,
        )
        count("ImageBuildStarted")
        return None

    def _review(self, tag: str, build_id: str) -> None:
        """See what became of a build whose time is up: its end may not have been heard of."""
        build = self.projects.find(build_id)
        if build is None:
            self.images.requeue(tag, build_id=build_id, seconds=self._lease)
            self._give_up_turn(tag, lambda turns: turns.drop(tag))
        elif build.is_running:
            until = self.images.now + self._lease
            self.turns.change(lambda turns: turns.started(tag, build_id, until=until))
            self.images.extend(tag, build_id=build_id, seconds=self._lease)
        else:
            logger.warning("end of a build was not heard of", image_tag=tag, build_id=build_id)
            self._end(tag, build)

    def _end(self, tag: str, build: Build) -> None:
        releases = self.releases
        # the registry decides: a build can fail only because another has pushed the same
        digest = self.registry.digest(build.content_tag) if build.content_tag else None
        version = build.runner_version
        dead = releases.dead([version, releases.current.version], now=self.images.now)
        if version in dead and releases.current.version not in dead:
            logger.info("built with a release that is retired meanwhile", image_tag=tag)
            self.images.requeue(tag, build_id=build.build_id, seconds=self._lease)
        elif since := dead.get(version):
            self._fail(
                tag,
                build_id=build.build_id,
                error=_dead(version, since),
                log_url=build.log_url,
                started_at=build.started_at,
                retry_seconds=0,
            )
        elif digest:
            self._promote(tag, build, digest=digest)
        else:
            self._fail(
                tag,
                build_id=build.build_id,
                error=build.error or "the build succeeded but pushed no image",
                log_url=build.log_url,
                started_at=build.started_at,
            )
        self._give_up_turn(
            tag,
            lambda turns: turns.end(tag, build_id=build.build_id, started_at=build.started_at),
        )

    def _give_up_turn(self, tag: str, transition: Callable[[Turns], Turns]) -> None:
        self.turns.change(transition)
        row = self.images.find(tag)
        if row.awaits_build:
            # wanted again while it still had this turn, and so did not get in line
            self.turns.change(lambda turns: turns.ask(tag, is_rebuild=row.status != "QUEUED"))

    def _promote(self, tag: str, build: Build, *, digest: str) -> None:
        seen = self.images.find(tag)
        if not seen.base:
            logger.info("built an image that nobody wants any more", image_tag=tag)
            return
        if build.started_at < seen.built_at:
            # told before, or a newer one was faster
            if build.content_tag != seen.content_tag:
                self.images.outdated(seen, build.content_tag)
            if seen.status == "READY":
                self._tell(seen)
                self.families.keep_only(seen.revision)
            return
        family = f"{self.config.task_family}-{tag}"
        built = Built(
            build_id=build.build_id,
            log_url=build.log_url,
            content_tag=build.content_tag,
            digest=digest,
            base_digest=build.base_digest,
            runner_version=build.runner_version,
        )
        revision = self._register(family, digest=digest, architecture=seen.architecture)
        row = self.images.ready(seen, built, family=family, revision=revision)
        if row is None:
            logger.info("another build was faster", image_tag=tag, build_id=build.build_id)
            row = self.images.find(tag)
            if row.status == "READY":
                self.families.keep_only(row.revision)
            return
        logger.info("image ready", image_tag=tag, digest=digest, waiters=len(row.waiters))
        if seen.status == "READY":
            count("ImageRebuilt")
        self._tell(row)
        self.families.keep_only(revision)

    def _fail(
        self,
        tag: str,
        *,
        build_id: str,
        error: str,
        log_url: str,
        started_at: float | None = None,
        retry_seconds: int = RETRY_SECONDS,
    ) -> None:
        row = self.images.failed(
            tag,
            build_id=build_id,
            started_at=self.images.now if started_at is None else started_at,
            error=error,
            log_url=log_url,
            retry_seconds=retry_seconds,
        )
        if row:
            logger.error("image not built", image_tag=tag, error=error, log_url=log_url)
            count("ImageBuildFailed")
            self._tell(row)
        elif self.images.rebuild_failed(tag, build_id=build_id, error=error):
            logger.error("image not rebuilt", image_tag=tag, error=error, log_url=log_url)
            count("ImageRebuildFailed")
        else:
            logger.info("build ended beside another", image_tag=tag, build_id=build_id)

    def _register(self, family: str, *, digest: str, architecture: str) -> str:
        image = self.registry.reference(digest)
        return self.families.register(family, image=image, architecture=architecture)

    def _link(self, row: ImageRow) -> None:
        """Write where the build's log is for those who came before it began."""
        for runner_id in sorted(row.waiters):
            self.runners.update(
                runner_id,
                values={"build_log_url": row.log_url},
                condition="attribute_exists(runner_id)",
            )

    def _tell(self, row: ImageRow) -> None:
        error = ""
        if row.status == "FAILED":
            error = f"image {row.tag} was not built: {row.error}"
            error += f"; its log: {row.log_url}" if row.log_url else ""
        for runner_id in sorted(row.waiters):
            self.signals.image_ended(runner_id, error=error, log_url=row.log_url)
        self.images.told(row.tag, waiters=row.waiters)


def _dead(version: str, since: str) -> str:
    return (
        f"GitHub has retired version {version} of the runner ({since}), and the fleet knows no "
        "newer release: let watch_release ask GitHub for it, or deploy a newer version of the fleet"
    )

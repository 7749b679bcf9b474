"""Has images built, once for everyone who waits for them and no more at a time than may be.

Each step can die after any of its calls. What it was about to do is then done by whoever comes
next: the same one when it is tried again, the next job that wants an image, the end of any build,
a waiter that has heard nothing for as long as a build takes, or the daily upkeep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images.build_queue import (
    BuildNotStarted,
    BuildQueue,
    BuildQueueEntry,
    BuildTurn,
    Transition,
    unchanged,
)
from fleet_runtime.images.codebuild import (
    Build,
    BuildPostponedError,
    BuildProjects,
    BuildRefusedError,
)
from fleet_runtime.images.image import (
    BUILD_FAILED,
    BUILD_THROTTLED,
    TOO_MANY,
    Built,
    Image,
    ImageRow,
)
from fleet_runtime.images.own_images import OwnImages
from fleet_runtime.images.recipes import Recipes
from fleet_runtime.images.registry import ImageRegistry
from fleet_runtime.images.releases import ReleasesEntry
from fleet_runtime.images.rows import RETRY_SECONDS, ImageRecords
from fleet_runtime.images.task_definitions import TaskDefinitions
from fleet_runtime.job.image_policy import Bases
from fleet_runtime.observability import count, logger, measure
from fleet_runtime.runner.rows import RunnerRecords
from fleet_runtime.runner.signals import Signals

_THROTTLED_SECONDS = 60
"""How long an image is not tried again that a registry's limit on pulls was in the way of."""
_REGISTER_SECONDS = 60
"""How long making a family may take."""
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """Why a build did not start: whether it may have done so for all that, or has no room now."""

    tag: str
    error: str
    is_unclear: bool = False
    is_postponed: bool = False


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds images and makes the task-definition families that launch them.

    Attributes:
        images: The images' rows.
        runners: The rows of those who wait for images.
        ledger: For who makes a family.
        queue: Which builds may run.
        releases: What the runner is known to be released as.
        signals: To those who wait.
        projects: Where images are built.
        registry: Where images are.
        families: What launches images.
        bases: What they may be built on.
        recipes: What they are built by.
        own_images: How many images each repository has of its own.
        defaults: The images that are nobody's.
        lease_seconds: How long a build may take.
    """

    images: ImageRecords
    runners: RunnerRecords
    ledger: Ledger
    queue: BuildQueueEntry
    releases: ReleasesEntry
    signals: Signals
    projects: BuildProjects
    registry: ImageRegistry
    families: TaskDefinitions
    bases: Bases
    recipes: Recipes
    own_images: OwnImages
    defaults: frozenset[str]
    lease_seconds: int

    def answer(self, event: Mapping[str, Any]) -> dict[str, str]:
        """Answer the state machine, which asks for an image for a runner.

        Args:
            event: What ``Image.from_event`` reads, with ``runner_id``, its ``repository``, and
                ``gone``.

        Returns:
            ``{"status", "build_log_url"}``: the image's, as far as known.

        Raises:
            BuildNotStarted: if its build cannot be started just now.
        """
        row = self.request(
            Image.from_event(event),
            owner=event["runner_id"],
            runner_id=event["runner_id"],
            repository=event["repository"],
            is_gone=event["gone"],
        )
        return {"status": row.status, "build_log_url": row.log_url}

    def request(
        self,
        image: Image,
        *,
        owner: str,
        runner_id: str = "",
        repository: str = "",
        is_gone: bool = False,
    ) -> ImageRow:
        """See to it that somebody builds an image, if it is not there.

        Args:
            image: The image.
            owner: Who asks: the same when it is tried again.
            runner_id: The runner that waits for it; empty if none does.
            repository: Whose job that is for; empty if nobody's.
            is_gone: Whether a READY image could not be found when it was launched.

        Returns:
            The image's row. Its status is READY, QUEUED, BUILDING or FAILED; everyone who waits
            has then been told of READY and FAILED.

        Raises:
            BuildNotStarted: if its build cannot be started just now, or AWS does not answer: the
                one error that the state machine tries again.
        """
        # a default image is everybody's, whoever is the first to want it
        asker = "" if image.tag in self.defaults else repository
        try:
            return self._request(
                image, owner=owner, runner_id=runner_id, asker=asker, is_gone=is_gone
            )
        except (BotoCoreError, ClientError) as error:
            raise BuildNotStarted(f"{image.tag} cannot be built just now: {error}") from error

    def build_ended(self, build_id: str, *, owner: str) -> None:
        """Handle the end of a build, and start those that have waited for it.

        The next build is started before those who waited for this one are told. If this dies in
        between, the event comes again; after that a waiter looks again that has heard nothing.

        Args:
            build_id: ARN of the build. For which image it was CodeBuild is asked, whose event need
                not have the variables that a build was started with.
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if none of those can be started just now.
        """
        build = self.projects.find(build_id)
        if build is None or build.is_running:
            # its event can be faster than CodeBuild's own list of builds
            raise BuildNotStarted(f"CodeBuild does not know yet how {build_id} has ended")
        tag = build.image_tag
        if not tag:
            logger.info("build not used", build_id=build_id, status=build.status)
            return
        try:
            row = self._end(tag, build)
        except (BotoCoreError, ClientError):
            # the others do not wait for this one
            self.advance(owner)
            raise
        try:
            problem = self._advance(owner, after=_turn_of(build, row, tag=tag))
        except (BotoCoreError, ClientError, BuildNotStarted):
            # those who waited do not wait for the others
            self._conclude(tag, row)
            raise
        left = self._conclude(tag, row)
        if left.awaits_build:
            # wanted again while it still had its turn, and so did not get in line
            problem = self._advance(owner, after=_asked(left))
        if problem:
            raise problem

    def advance(self, owner: str) -> None:
        """Look after builds that should have ended, and start as many of the next as may be.

        Args:
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if one cannot be started just now, or could not be looked after, and
                no end of a build will have it tried again.
        """
        if problem := self._advance(owner):
            raise problem

    def rebuild(self, row: ImageRow) -> None:
        """Get in line to build a READY image anew."""
        if self.images.queue_rebuild(row):
            self.queue.change(lambda queue: queue.ask(row.tag, is_rebuild=True))

    def _request(
        self, image: Image, *, owner: str, runner_id: str, asker: str, is_gone: bool
    ) -> ImageRow:
        for _ in range(_TRIES):
            row = self.images.find(image.tag)
            if row.status == "BUILDING" and not row.is_leased(self.images.now):
                self._review_or_advance(row, owner)
                row = self.images.find(image.tag)
            if settled := self._settled(row, image, owner=owner, is_gone=is_gone):
                return settled
            if asker and not self.own_images.claim(image.tag, repository=asker):
                return self._refuse_runner(row, runner_id, repository=asker)
            if row.is_leased(self.images.now) or self.images.queue(
                image,
                seen=row,
                seconds=self.lease_seconds,
                runner_id=runner_id,
                repository=asker,
            ):
                break
        asked_by = (asker,) if asker else ()
        problem = self._advance(
            owner,
            after=lambda queue: queue.ask(image.tag, is_rebuild=False, asked_by=asked_by),
            wanted=image.tag,
        )
        if asker and row.is_leased(self.images.now) and asker not in row.asked_by:
            # not before it is in line for this one too, or nobody would ask again
            self.images.asked(image.tag, repository=asker)
        if problem:
            raise problem
        return self.images.find(image.tag)

    def _advance(
        self, owner: str, *, after: Transition = unchanged, wanted: str = ""
    ) -> BuildNotStarted | None:
        """Write what has happened to the queue, and see to all builds that come after it.

        Args:
            owner: Who asks.
            after: What has happened.
            wanted: The image that it is for.

        Returns:
            What nobody else will have tried again: that ``wanted`` cannot be started just now, or
            that another cannot, or could not be looked after, and no build's end is to come.
        """
        queue, failure = self._start_next(owner, after)
        if expired := queue.expired(self.images.now):
            missed = self._review_all(expired)
            queue, unstarted = self._start_next(owner, unchanged)
            failure = unstarted or failure or missed
        measure({"BuildsWaiting": queue.waiting})
        is_last = not queue.is_any_under_way(self.images.now)
        if failure and (failure.tag == wanted or failure.is_unclear or is_last):
            return BuildNotStarted(
                f"{failure.tag} cannot be built just now: {failure.error}",
                is_postponed=failure.is_postponed,
            )
        return None

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

    def _review_all(self, expired: tuple[BuildTurn, ...]) -> _Failure | None:
        """Look after builds that should have ended; returns the last that this failed with."""
        failure = None
        for turn in expired:
            try:
                self._review(turn.tag, turn.build_id)
            except (BotoCoreError, ClientError) as error:
                # it keeps its turn, and the others theirs
                logger.exception("build not looked after", image_tag=turn.tag)
                failure = _Failure(tag=turn.tag, error=str(error))
        return failure

    def _start_next(self, owner: str, after: Transition) -> tuple[BuildQueue, _Failure | None]:
        """Start builds while there are turns: each is noted in the write that takes the next."""
        while True:
            queue, turn = self.queue.take(owner, after=after)
            if turn is None:
                return queue, None
            after, failure = self._start(turn)
            if failure:
                logger.warning("build not started", image_tag=turn.tag, error=failure.error)
                return self.queue.change(after), failure

    def _start(self, turn: BuildTurn) -> tuple[Transition, _Failure | None]:
        """Start a turn's build; returns what this is to the queue."""
        tag, until = turn.tag, self.images.now + self.lease_seconds
        row = self.images.find(tag)
        if row.running:
            # whoever started it died before it was noted here
            if row.status == "BUILDING":
                self._link(row)
            return lambda queue: queue.started(tag, row.running, until=until), None
        if not row.awaits_build:
            return self._give_up_turn(tag), None
        if not self.bases.have(row.base):
            # dispatch has looked, by the list of then; and builds do not rely on its word alone
            return self._refuse(row, _not_allowed(row.base)), None
        releases = self.releases.read()
        version = releases.current.version
        if since := releases.dead([version], now=self.images.now).get(version):
            return self._refuse(row, _dead(version, since), retry_seconds=0), None
        try:
            build_id, log_url = self.projects.start(
                row, recipe=self.recipes.of(row), release=releases.current, token=turn.token
            )
        except BuildRefusedError as error:
            return self._refuse(row, str(error)), None
        except BuildPostponedError as error:
            failure = _Failure(tag=tag, error=str(error), is_postponed=True)
            return lambda queue: queue.put_back(tag), failure
        except (BotoCoreError, ClientError) as error:
            # there may be a build: the turn and its token stay, for the same one to try again
            return unchanged, _Failure(tag=tag, error=str(error), is_unclear=True)
        noted = self.images.started(
            row, build_id=build_id, log_url=log_url, seconds=self.lease_seconds
        )
        if noted:
            self._link(noted)
        logger.info(
            "build started",
            image_tag=tag,
            image_base=row.base,
            architecture=row.architecture,
            runner_version=version,
            build_id=build_id,
        )
        count("ImageBuildStarted")
        return lambda queue: queue.started(tag, build_id, until=until), None

    def _refuse_runner(self, row: ImageRow, runner_id: str, *, repository: str) -> ImageRow:
        """Fail an image for one runner alone: others may have it built."""
        error = (
            f"{repository} has {self.own_images.most} images of its own, as many as one repository "
            "may have: use a base that one of them is built on, or raise max_images_per_repository;"
            " an image is deleted 60 days after its last job"
        )
        logger.warning("image refused", image_tag=row.tag, runner_id=runner_id, error=error)
        self.signals.image_ended(runner_id, error=error, failure=TOO_MANY, log_url="")
        self.images.told(row.tag, waiters=frozenset({runner_id}))
        return replace(row, status="FAILED", log_url="")

    def _refuse(
        self, row: ImageRow, error: str, *, retry_seconds: int = RETRY_SECONDS
    ) -> Transition:
        """Fail an image that there is no build of."""
        failed = self._fail(
            row.tag, build_id="", error=error, log_url="", retry_seconds=retry_seconds
        )
        if failed:
            self._tell(failed)
        return self._give_up_turn(row.tag)

    def _give_up_turn(self, tag: str) -> Transition:
        """Give up a turn that there is nothing to build in; returns what comes after it."""
        self.queue.change(lambda queue: queue.drop(tag))
        return _asked(self.images.find(tag))

    def _review(self, tag: str, build_id: str) -> None:
        """See what became of a build whose time is up: its end may not have been heard of."""
        build = self.projects.find(build_id)
        if build is None:
            self.images.requeue(tag, build_id=build_id, seconds=self.lease_seconds)
            self.queue.change(self._give_up_turn(tag))
        elif build.is_running:
            until = self.images.now + self.lease_seconds
            self.queue.change(lambda queue: queue.started(tag, build_id, until=until))
            self.images.extend(tag, build_id=build_id, seconds=self.lease_seconds)
        else:
            logger.warning("end of a build was not heard of", image_tag=tag, build_id=build_id)
            row = self._end(tag, build)
            # no event comes again: it keeps its turn until everyone is told
            self._conclude(tag, row)
            self.queue.change(_turn_of(build, row, tag=tag))
            self.queue.change(_asked(self.images.find(tag)))

    def _end(self, tag: str, build: Build) -> ImageRow | None:
        """Write how a build has ended; returns the row if somebody is to be told, or to build."""
        releases = self.releases.read()
        # the registry decides: a build can fail only because another has pushed the same
        digest = self.registry.digest(build.content_tag) if build.content_tag else None
        version = build.runner_version
        dead = releases.dead([version, releases.current.version], now=self.images.now)
        if version in dead and releases.current.version not in dead:
            logger.info("built with a release that is retired meanwhile", image_tag=tag)
            return self.images.requeue(tag, build_id=build.build_id, seconds=self.lease_seconds)
        if since := dead.get(version):
            return self._fail(
                tag,
                build_id=build.build_id,
                error=_dead(version, since),
                log_url=build.log_url,
                started_at=build.started_at,
                retry_seconds=0,
            )
        if digest:
            return self._promote(tag, build, digest=digest, release=releases.current.version)
        return self._fail(
            tag,
            build_id=build.build_id,
            error=build.error or "the build succeeded but pushed no image",
            log_url=build.log_url,
            started_at=build.started_at,
            failure=BUILD_THROTTLED if build.is_throttled else BUILD_FAILED,
            retry_seconds=_THROTTLED_SECONDS if build.is_throttled else RETRY_SECONDS,
        )

    def _conclude(self, tag: str, row: ImageRow | None) -> ImageRow:
        """Tell those who waited, launch nothing older; returns the row as it is after that."""
        left = None
        if row and row.status in ("READY", "FAILED"):
            left = self._tell(row)
        if row and row.status == "READY":
            self.families.keep_only(row.revision)
        return left or self.images.find(tag)

    def _promote(self, tag: str, build: Build, *, digest: str, release: str) -> ImageRow | None:
        seen = self.images.find(tag)
        if not seen.base:
            logger.info("built an image that nobody wants any more", image_tag=tag)
            return None
        if build.started_at < seen.built_at:
            # told before, or a newer one was faster
            if build.content_tag != seen.content_tag:
                self.images.outdated(seen, build.content_tag)
            return seen if seen.status == "READY" else None
        family = self.families.name(tag)
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
            return row if row.status == "READY" else None
        logger.info("image ready", image_tag=tag, digest=digest, waiters=len(row.waiters))
        if seen.status == "READY":
            count("ImageRebuilt")
        if built.runner_version != release:
            logger.info("a newer release was taken over meanwhile", image_tag=tag)
            self.images.queue_rebuild(row)
            return self.images.find(tag)
        return row

    def _fail(
        self,
        tag: str,
        *,
        build_id: str,
        error: str,
        log_url: str,
        started_at: float | None = None,
        failure: str = BUILD_FAILED,
        retry_seconds: int = RETRY_SECONDS,
    ) -> ImageRow | None:
        """Write that an image could not be built; returns the row if those who wait are told."""
        row = self.images.failed(
            tag,
            build_id=build_id,
            started_at=self.images.now if started_at is None else started_at,
            error=error,
            failure=failure,
            log_url=log_url,
            retry_seconds=retry_seconds,
        )
        if row:
            logger.error("image not built", image_tag=tag, error=error, log_url=log_url)
            count("ImageBuildFailed")
        elif self.images.rebuild_failed(tag, build_id=build_id, error=error):
            logger.error("image not rebuilt", image_tag=tag, error=error, log_url=log_url)
            count("ImageRebuildFailed")
        else:
            logger.info("build ended beside another", image_tag=tag, build_id=build_id)
        return row

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

    def _tell(self, row: ImageRow) -> ImageRow | None:
        """Tell everyone who waits; returns the row as it is after that, if anyone did."""
        error = failure = ""
        if row.status == "FAILED":
            failure = row.failure
            error = f"image {row.tag} was not built: {row.error}"
            error += f"; its log: {row.log_url}" if row.log_url else ""
        for runner_id in sorted(row.waiters):
            self.signals.image_ended(runner_id, error=error, failure=failure, log_url=row.log_url)
        return self.images.told(row.tag, waiters=row.waiters)


def _asked(row: ImageRow) -> Transition:
    """An image gets in line, if its row says that it is to be built."""
    if not row.awaits_build:
        return unchanged
    is_rebuild = row.status != "QUEUED"
    return lambda queue: queue.ask(row.tag, is_rebuild=is_rebuild, asked_by=sorted(row.asked_by))


def _turn_of(build: Build, row: ImageRow | None, *, tag: str) -> Transition:
    """A build's turn ends; its image gets in line if it is to be built again."""
    again = _asked(row) if row else unchanged
    return lambda queue: again(
        queue.end(
            tag,
            build_id=build.build_id,
            started_at=build.started_at,
            day=datetime.fromtimestamp(build.ended_at, UTC).date().isoformat(),
            cost_usd=build.cost_usd,
        )
    )


def _not_allowed(base: str) -> str:
    return f"nothing is built on {base}, which is not among allowed_images"


def _dead(version: str, since: str) -> str:
    return (
        f"GitHub has retired version {version} of the runner ({since}), and the fleet knows no "
        "newer release: let watch_release ask GitHub for it, or deploy a newer version of the fleet"
    )

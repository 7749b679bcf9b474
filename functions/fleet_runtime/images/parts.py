"""What builds images and keeps them, put together once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images.build_queue import BuildQueueEntry
from fleet_runtime.images.builder import Builder
from fleet_runtime.images.codebuild import BuildProjects
from fleet_runtime.images.own_images import OwnImages
from fleet_runtime.images.recipes import Recipes
from fleet_runtime.images.registry import ImageRegistry, region_of
from fleet_runtime.images.releases import Release, ReleasesEntry
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.images.task_definitions import TaskDefinitions
from fleet_runtime.images.upkeep import Upkeep, own_images
from fleet_runtime.job.fleet_images import FleetImages
from fleet_runtime.job.image_policy import Bases
from fleet_runtime.runner.rows import RunnerRecords
from fleet_runtime.runner.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What images are built with, and where they are.

    Attributes:
        max_builds: How many builds there may be at a time, at least 1.
        keep_build_turn: Whether the last turn is kept for a repository that has none, as several
            are served.
        max_images_per_repository: How many images one repository may have of its own, at least 1.
        image_build_projects: CodeBuild's projects by architecture.
        runner_release: The library's own release of the runner.
        images: The fleet's own images.
        image_recipe: Digest of the recipe of those on a base that a job chose; empty if none may.

    Raises:
        ValueError: if ``max_builds`` is 0: nothing would ever be built.
    """

    image_table: str
    runner_table: str
    ledger_table: str
    max_builds: int
    keep_build_turn: bool
    max_images_per_repository: int
    image_build_projects: Mapping[str, str]
    runner_release: Release
    images: FleetImages
    ecr_repository_name: str
    runner_repository_url: str
    task_family: str
    define_task_function: str
    allowed_images: tuple[str, ...]
    image_build_timeout_seconds: int
    image_recipe: str = ""

    def __post_init__(self) -> None:
        if self.max_builds == 0:
            raise ValueError("max_builds is 0, it must be more, as nothing would ever be built")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Who builds images when somebody wants them, and who sees to those that are there."""

    builder: Builder
    upkeep: Upkeep

    @classmethod
    def of(cls, settings: Settings, *, clock: Callable[[], float] = time.time) -> Parts:
        """Put them together.

        Args:
            settings: What they are to know.
            clock: Epoch seconds. Default: the system's.
        """
        dynamodb = client("dynamodb")
        ledger = Ledger(dynamodb=dynamodb, table=settings.ledger_table, clock=clock)
        images = ImageRecords(dynamodb=dynamodb, table=settings.image_table, clock=clock)
        runners = RunnerRecords(dynamodb=dynamodb, table=settings.runner_table, clock=clock)
        releases = ReleasesEntry(ledger=ledger, pin=settings.runner_release)
        registry = ImageRegistry(
            ecr=client("ecr", region=region_of(settings.runner_repository_url)),
            repository=settings.ecr_repository_name,
            url=settings.runner_repository_url,
        )
        families = TaskDefinitions(
            functions=client("lambda"),
            function_name=settings.define_task_function,
            prefix=settings.task_family,
        )
        defaults = own_images(settings.images, families)
        bases = Bases(own=settings.images.bases, allowed_images=settings.allowed_images)
        recipes = Recipes(images=settings.images, of_choices=settings.image_recipe)
        builder = Builder(
            images=images,
            runners=runners,
            ledger=ledger,
            queue=BuildQueueEntry(
                ledger=ledger,
                most=settings.max_builds,
                most_of_one=max(1, settings.max_builds - settings.keep_build_turn),
            ),
            releases=releases,
            signals=Signals(records=runners, stepfunctions=client("stepfunctions")),
            projects=BuildProjects(
                codebuild=client("codebuild"),
                projects=settings.image_build_projects,
                timeout_seconds=settings.image_build_timeout_seconds,
            ),
            registry=registry,
            families=families,
            bases=bases,
            recipes=recipes,
            own_images=OwnImages(
                ledger=ledger,
                images=images,
                bases=bases,
                recipes=recipes,
                most=settings.max_images_per_repository,
            ),
            defaults=frozenset(image.tag for image in defaults),
            lease_seconds=settings.image_build_timeout_seconds,
        )
        return cls(
            builder=builder,
            upkeep=Upkeep(
                builder=builder,
                images=images,
                releases=releases,
                registry=registry,
                families=families,
                recipes=recipes,
                defaults=defaults,
            ),
        )

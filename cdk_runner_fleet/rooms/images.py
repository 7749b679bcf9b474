"""Who has a fleet's images built, and who watches the version of the runner in them."""

from __future__ import annotations

import json

from aws_cdk import Aws, Duration, Stack, Tokenization
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.bus import FleetBus, Pattern
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.rooms.recipe import pinned_release
from cdk_runner_fleet.rooms.registry import RunnerRegistry
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.timeouts import seconds_of


class ImageService(Construct):
    """Has images built when jobs ask for them, and keeps their runner one that GitHub serves.

    ``build_image`` builds, weekly anew what is in use, and has no credentials for GitHub; the
    task definitions that launch images ``define_task`` makes for it, and takes away.
    ``watch_release`` asks GitHub once a day which runners it supports (every hour while there is
    none to build with) and builds nothing.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        pipeline: What builds images. If it builds none there is no ``build_image``.
        registry: The rows of the images and of who waits for them, and the ledger.
        cluster: Where images are launched.
        github: Who is asked for versions of the runner. None: nobody, images are built with the
            library's own.
        bus: Where news of a version travels.
        build_timeout: How long a build may last.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        pipeline: ImagePipeline,
        registry: RunnerRegistry,
        cluster: RunnerCluster,
        github: GitHubConnection | None,
        bus: FleetBus,
        build_timeout: Duration,
        options: FunctionOptions,
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        self._pipeline = pipeline
        self._registry = registry
        self._cluster = cluster
        self._bus = bus
        self._options = options
        self._at_rest = at_rest
        self.watch_release = self._watch(github) if github else None
        self.build_image = (
            self._builder(
                build_timeout, is_shared=github is None or not github.served.is_one_repository
            )
            if pipeline.is_built
            else None
        )

    def note_hook_networks(self, parameter: ssm.IStringParameter) -> None:
        """Keep it noted which networks GitHub's webhooks come from: who asks it anyway does."""
        assert self.watch_release is not None  # noqa: S101 - where there are webhooks GitHub is asked
        self.watch_release.add_environment("HOOK_NETWORKS_PARAM", parameter.parameter_name)
        self.watch_release.allow(
            "ssm:GetParameter", "ssm:PutParameter", resources=[parameter.parameter_arn]
        )

    @property
    def offer(self) -> dict[str, str]:
        """Settings of a function that starts runners: what there is to start them in."""
        return {
            **self._images,
            "IMAGE_BUILDING": "on" if self._pipeline.is_built else "off",
        }

    @property
    def _images(self) -> dict[str, str]:
        return {
            "TASK_FAMILY": self._cluster.task_family,
            "IMAGES": json.dumps([self._image(name) for name in self._pipeline.images.by_name]),
            "IMAGE_RECIPE": self._pipeline.recipe_of_choices,
            "ALLOWED_IMAGES": json.dumps(self._pipeline.builds.globs),
        }

    def _image(self, name: str) -> dict[str, object]:
        """An image as the functions know it; what is empty is left out, they have 4 KB."""
        images = self._pipeline.images
        image, built = images.by_name[name], images.built.get(name)
        told: dict[str, object] = {
            "name": name,
            "base": built.base if built is not None else "",
            "recipe": self._pipeline.recipes.get(name, ""),
            "architectures": images.architectures[name] if built is not None else [],
            "task_definitions": self._cluster.ready_families(name),
            "declared": image.capabilities,
            "detected": image.detected_capabilities,
        }
        return {key: value for key, value in told.items() if value}

    @property
    def _release(self) -> dict[str, str]:
        return {
            "IMAGE_TABLE": self._registry.image_table.table_name,
            "LEDGER_TABLE": self._registry.ledger_table.table_name,
            "RUNNER_RELEASE": pinned_release(),
        }

    def _watch(self, github: GitHubConnection) -> FleetFunction:
        function = FleetFunction(
            self,
            "WatchRelease",
            handler="watch_release",
            asks_github=True,
            options=self._options,
            at_rest=self._at_rest,
            timeout=Duration.minutes(1),
            on_failure=self._bus.failed_events,
            environment={
                **self._release,
                **github.environment(of_served=True),
                **self._bus.environment,
            },
        )
        github.grant_ask(function)
        self._bus.grant_put(function, "runner_version_retired", "runner_release_taken_over")
        function.allow("dynamodb:Scan", resources=[self._registry.image_table.table_arn])
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            resources=[self._registry.ledger_table.table_arn],
        )
        # at once, and not on its next day: what was pinned long ago may be dead
        self._bus.deliver_own(self, function, "retired_runner_found")
        self._bus.deliver(self, function, self._deployed, every=Duration.hours(1))
        return function

    def _builder(self, timeout: Duration, *, is_shared: bool) -> FleetFunction:
        pipeline, registry = self._pipeline, self._registry
        assert pipeline.repository is not None  # noqa: S101 - there is one where images are built
        projects = {name: project.project_name for name, project in pipeline.projects.items()}
        # apart, as ECS lets nobody do this to the fleet's task definitions alone
        self.define_task = FleetFunction(
            self,
            "DefineTask",
            handler="define_task",
            options=self._options,
            at_rest=self._at_rest,
            environment={
                "FAMILY_PREFIX": self._cluster.family,
                "TASK_DEFINITION_ARN": self._cluster.task_definition_arn,
                "MOUNTED_TASK_DEFINITIONS": json.dumps(self._cluster.mounted_task_definition_arns),
                "RUNNER_REPOSITORY_URL": pipeline.repository.repository_uri,
            },
        )
        self._cluster.grant_define(self.define_task.execution_role)
        function = FleetFunction(
            self,
            "BuildImage",
            handler="build_image",
            options=self._options,
            at_rest=self._at_rest,
            timeout=Duration.minutes(1),
            on_failure=self._bus.failed_events,
            environment={
                **self._release,
                **self._images,
                "RUNNER_TABLE": registry.runner_table.table_name,
                "IMAGE_BUILD_PROJECTS": json.dumps(projects),
                "ECR_REPOSITORY_NAME": pipeline.repository.repository_name,
                "RUNNER_REPOSITORY_URL": pipeline.repository.repository_uri,
                "DEFINE_TASK_FUNCTION": self.define_task.function_name,
                "IMAGE_BUILD_TIMEOUT_SECONDS": seconds_of(timeout),
                "MAX_BUILDS": Tokenization.stringify_number(pipeline.builds.max_concurrent_builds),
                "KEEP_BUILD_TURN": "on" if is_shared else "off",
                "MAX_IMAGES_PER_REPOSITORY": Tokenization.stringify_number(
                    pipeline.builds.max_images_per_repository
                ),
            },
        )
        pipeline.grant_build(function)
        function.allow("lambda:InvokeFunction", resources=[self.define_task.function_arn])
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            "dynamodb:Scan",
            resources=[registry.image_table.table_arn],
        )
        function.allow(
            "dynamodb:GetItem", "dynamodb:UpdateItem", resources=[registry.ledger_table.table_arn]
        )
        function.allow("dynamodb:UpdateItem", resources=[registry.runner_table.table_arn])
        self._bus.deliver_own(
            self,
            function,
            "retired_runner_found",
            "runner_version_retired",
            "runner_release_taken_over",
        )
        ended = {
            "source": ["aws.codebuild"],
            "detail-type": ["CodeBuild Build State Change"],
            "detail": {
                "project-name": list(projects.values()),
                "build-status": ["SUCCEEDED", "FAILED", "FAULT", "STOPPED", "TIMED_OUT"],
            },
        }
        heard = [ended, self._deployed] if self._pipeline.images.built else [ended]
        self._bus.deliver(self, function, *heard, every=Duration.days(1))
        return function

    @property
    def _deployed(self) -> Pattern:
        return {
            "source": ["aws.cloudformation"],
            "detail-type": ["CloudFormation Stack Status Change"],
            "account": [Aws.ACCOUNT_ID],
            "detail": {
                "stack-id": [Stack.of(self).stack_id],
                "status-details": {"status": ["CREATE_COMPLETE", "UPDATE_COMPLETE"]},
            },
        }

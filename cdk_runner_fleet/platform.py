"""The platform: what runners run on, with GitHub's jobs or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jsii
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_runner_fleet import rooms
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._name import name_fleet
from cdk_runner_fleet.metrics import IRunnerFleet
from cdk_runner_fleet.values.fleet_images import FleetImages
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.github import GitHub
from cdk_runner_fleet.values.limits import RunnerLimits
from cdk_runner_fleet.values.runner_class import DEFAULT_RUNNER_CLASSES, RunnerClass
from cdk_runner_fleet.values.runner_image import ImageBuilds, RunnerImage
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts
from cdk_runner_fleet.values.types import check_types

if TYPE_CHECKING:
    from aws_cdk import aws_ecs as ecs
    from aws_cdk import aws_events as events
    from aws_cdk import aws_kms as kms
    from aws_cdk import aws_logs as logs


@jsii.implements(ec2.IConnectable, iam.IGrantable)
class RunnerPlatform(IRunnerFleet):
    """What runners run on: their classes, images, cluster and lives, and what they are admitted by.

    A :class:`RunnerFleet` has one, and adds what hears of GitHub's jobs. Alone it asks nobody and
    starts nothing by itself: runners are the business of whoever is granted to start them, with
    ``admission``. Without ``github`` no runner is registered, nobody looks for releases of GitHub's
    runner, and one whose heartbeat has ceased is lost.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        github: Where runners are registered. Default: nowhere.
        classes: Sizes of runner by name, the first one for jobs that name none. Default: ``small``
            512/1024, ``medium`` 1024/2048, ``large`` 2048/4096 (CPU units/MiB).
        image: The image for jobs without ``image:``. Default: ``RunnerImage.built()``, a small
            image on Ubuntu, built in the account right after the first deployment.
        images: What images jobs may have built with ``image:``, and how built images are kept.
            Default: jobs may choose Docker's official images as the base.
        cluster: ECS cluster that runners' tasks run in. It needs the capacity providers ``FARGATE``
            and ``FARGATE_SPOT``, which it is given if it is of this app. Default: one is made.
        execution_role: Role by which ECS pulls the runners' images and writes their logs. What it
            needs is added to it, unless it is imported with ``mutable=False``. Default: one is
            made.
        event_bus: EventBridge bus that the fleet's own events travel on, others' as well if you
            like. Default: one is made.
        vpc: VPC of the runners. Default: that of ``cluster``, if one is given; else one with two
            public subnets, no NAT gateway and no inbound rule is made, unless ``vpc_subnets`` names
            subnets. Fargate is not in every zone of some regions: give a VPC there.
        vpc_subnets: Subnets of the runners: some of ``vpc``, or those of
            ``ec2.SubnetSelection(subnets=[…])``, which need ``security_groups``. Default: the
            public subnets of ``vpc``, or its private ones with egress if ``assign_public_ip`` is
            off.
        security_groups: Security groups of the runners. Default: one without an inbound rule.
        assign_public_ip: Whether a runner has a public IPv4 address of its own.
        encryption_key: Key for all that the fleet keeps: its tables, logs, queue, bus, executions,
            images, the secrets that it makes, its functions' settings and its tasks' disks. A
            symmetric key of one region; what an imported one's policy has to say, and what does not
            take a key, stands in ``docs/own-resources.md``. Another key for a fleet that is there
            replaces its repository, with all images in it. Default: each service's own.
        log_retention: How long all logs are kept. Default: 30 days.
        limits: What runners are admitted by. Default: 100 at a time, half of them for one
            repository where several are served, and no budget.
        timeouts: How long each waiting state may last. Default: boot 5 minutes, idle 10 minutes,
            image build 30 minutes, job 6 hours.
        functions: What all functions have in common. Default: no traces, and the public layer with
            Powertools for AWS Lambda.
        reserved_concurrency: Requests of runners that are handled at a time, kept free for them by
            Lambda. Default: none is reserved.

    Attributes:
        fleet_name: Its name, as its metrics and its tasks' tags have it.
        admission: What starts runners: ``admission.grant_start(function)``, and the settings that
            such a function needs, ``admission.environment``.
        network: VPC, subnets and security groups of the runners.
        cluster: The ECS cluster, its task definition and the roles of tasks.
        catalog: The classes, in their SSM parameters.
        image_pipeline: The repository of built images, and the projects that build them.
        registry: The tables of runners and of images, and the ledger.
        bus: The event bus, its archive and its dead-letter queue.
        lifecycle: The state machine that each runner's life is an execution of, and its logs.
        limits: What runners are admitted by.
        state_machine: That state machine.
        dead_letter_queue: That queue.

    Raises:
        TypeError: if a value is of another kind than its parameter's annotation.
        ValueError: if a value cannot work; the message says what would.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        github: GitHub | None = None,
        classes: Mapping[str, RunnerClass] | None = None,
        image: RunnerImage | None = None,
        images: ImageBuilds | None = None,
        cluster: ecs.ICluster | None = None,
        execution_role: iam.IRole | None = None,
        event_bus: events.IEventBus | None = None,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        assign_public_ip: bool = True,
        encryption_key: kms.IKey | None = None,
        log_retention: logs.RetentionDays | None = None,
        limits: RunnerLimits | None = None,
        timeouts: LifecycleTimeouts | None = None,
        functions: FunctionOptions | None = None,
        reserved_concurrency: int | None = None,
    ) -> None:
        check_types(RunnerPlatform.__init__, locals())
        super().__init__(scope, construct_id)
        self.fleet_name = name_fleet(self)
        limits = limits or RunnerLimits()
        is_shared = github is not None and not github.is_one_repository
        self.limits = limits.among_repositories() if is_shared else limits
        timeouts = timeouts or LifecycleTimeouts()
        self.functions = rooms.functions.prepared(self, functions or FunctionOptions())
        self.at_rest = DataAtRest(self, encryption_key=encryption_key, log_retention=log_retention)

        # what is there
        self.github = (
            rooms.connection.GitHubConnection(self, "GitHub", github=github, at_rest=self.at_rest)
            if github
            else None
        )
        self.registry = rooms.registry.RunnerRegistry(self, "Registry", at_rest=self.at_rest)
        fleet_images = FleetImages.of(
            image or RunnerImage.built(), DEFAULT_RUNNER_CLASSES if classes is None else classes
        )
        self.catalog = rooms.catalog.RunnerCatalog(
            self, "Catalog", classes=classes, images=fleet_images.of_classes
        )
        self.bus = rooms.bus.FleetBus(self, "EventBus", at_rest=self.at_rest, event_bus=event_bus)
        self.api = rooms.api.FleetApi(self, "Api", at_rest=self.at_rest)
        builds = images or ImageBuilds()
        if github:
            self.catalog.check_rules(github.label_rules)
            github.check_choice(builds.globs, is_explicit=builds.allowed_bases is not None)
        self.image_pipeline = rooms.image_pipeline.ImagePipeline(
            self,
            "Image",
            images=fleet_images,
            builds=builds,
            architectures=self.catalog.architectures,
            at_rest=self.at_rest,
        )
        self.network = rooms.network.RunnerNetwork(
            self,
            "Network",
            vpc=vpc or rooms.cluster.vpc_of(cluster, vpc_subnets),
            vpc_subnets=vpc_subnets,
            security_groups=security_groups,
            assign_public_ip=assign_public_ip,
        )
        self.cluster = rooms.cluster.RunnerCluster(
            self,
            "Cluster",
            images=self.image_pipeline,
            at_rest=self.at_rest,
            architectures=self.catalog.architectures,
            cluster=cluster,
            execution_role=execution_role,
            mounts={name: one.mounts for name, one in self.catalog.classes.items() if one.mounts},
        )

        # whom the lifecycle calls
        self.registration = rooms.registration.RunnerRegistration(
            self,
            "Registration",
            api=self.api,
            cluster=self.cluster,
            registry=self.registry,
            github=self.github,
            options=self.functions,
            at_rest=self.at_rest,
            reserved_concurrency=reserved_concurrency,
        )
        self.images = rooms.images.ImageService(
            self,
            "Images",
            pipeline=self.image_pipeline,
            registry=self.registry,
            cluster=self.cluster,
            github=self.github,
            bus=self.bus,
            build_timeout=timeouts.image_build,
            options=self.functions,
            at_rest=self.at_rest,
        )
        self.lifecycle = rooms.lifecycle.RunnerLifecycle(
            self,
            "Lifecycle",
            cluster=self.cluster,
            network=self.network,
            registry=self.registry,
            api=self.api,
            registration=self.registration,
            images=self.images,
            timeouts=timeouts,
            options=self.functions,
            at_rest=self.at_rest,
        )

        self.class_runners = rooms.classes.RunnerClasses(
            self,
            "Classes",
            classes=self.catalog.classes,
            network=self.network,
            cluster=self.cluster,
            registration=self.registration,
            lifecycle=self.lifecycle,
        )

        # who starts runners
        self.admission = rooms.admission.RunnerAdmission(
            self,
            "Admission",
            registry=self.registry,
            catalog=self.catalog,
            images=self.images,
            lifecycle=self.lifecycle,
            bus=self.bus,
            limits=self.limits,
        )

        # what it is measured by
        self.state_machine = self.lifecycle.state_machine
        self.dead_letter_queue = self.bus.dead_letter_queue
        self.daily_budget_usd = self.limits.daily_budget_usd
        self.github_callers = self.github.callers if self.github else ()
        self.function_logs = self.at_rest.function_logs
        self.lifecycle_logs = self.lifecycle.log_group

    @property
    def vpc(self) -> ec2.IVpc | None:
        """The runners' VPC, given or made; None if subnets of an unknown one were given."""
        return self.network.vpc

    @property
    def connections(self) -> ec2.Connections:
        """The runners' network connections."""
        return self.network.connections

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The role of the runners' tasks, whose AWS credentials jobs get from the first grant on.

        Until something is granted, a job's environment leads to none.
        """
        return self.cluster.grant_principal

    def runner_class(self, name: str) -> rooms.classes.ClassRunners:
        """The runners of one class, to be granted something and be let in somewhere.

        Args:
            name: The class's, as it is deployed.

        Raises:
            ValueError: if there is none.
        """
        return self.class_runners.of(name)

"""The fleet: composes the rooms, and is what other apps import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import jsii
from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction, with_network
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet.metrics import FleetMetrics
from cdk_runner_fleet.rooms.api import FleetApi
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.catalog import RunnerCatalog
from cdk_runner_fleet.rooms.cluster import RunnerCluster, vpc_of
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.dispatch import EventDispatch
from cdk_runner_fleet.rooms.explanation import JobExplanation
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.rooms.images import ImageService
from cdk_runner_fleet.rooms.intake import WebhookIntake
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.rooms.network import RunnerNetwork
from cdk_runner_fleet.rooms.reconciliation import DemandReconciliation
from cdk_runner_fleet.rooms.registration import RunnerRegistration
from cdk_runner_fleet.rooms.registry import RunnerRegistry
from cdk_runner_fleet.values.fleet_images import FleetImages
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.github import GitHub
from cdk_runner_fleet.values.limits import RunnerLimits
from cdk_runner_fleet.values.reconciliation import Reconciliation
from cdk_runner_fleet.values.runner_class import DEFAULT_RUNNER_CLASSES, RunnerClass
from cdk_runner_fleet.values.runner_image import ImageBuilds, RunnerImage
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts
from cdk_runner_fleet.values.types import check_types
from cdk_runner_fleet.values.webhook import Webhook

if TYPE_CHECKING:
    from aws_cdk import aws_sns as sns

    from cdk_runner_fleet.alarms import FleetAlarms
    from cdk_runner_fleet.dashboard import FleetDashboard
    from cdk_runner_fleet.log_queries import FleetLogQueries


@jsii.implements(ec2.IConnectable, iam.IGrantable)
class RunnerFleet(FleetMetrics):
    """GitHub Actions runners: one Fargate task a job, gone when the job is.

    They serve one repository, one organization or one enterprise. Point its webhook, or that of a
    GitHub App (event ``workflow_job``), at ``webhook_url`` and put a token into ``github_token`` or
    name the App in ``github``; jobs that run on ``self-hosted`` then find their runner.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        github: What to serve at GitHub, and how to ask GitHub: ``GitHub.repository("owner/name")``,
            ``GitHub.organization(…)`` or ``GitHub.enterprise(…)``.
        classes: Sizes of runner by name, the first one for jobs that name none. Default: ``small``
            512/1024, ``medium`` 1024/2048, ``large`` 2048/4096 (CPU units/MiB).
        image: The image for jobs without ``image:``. Default: ``RunnerImage.built()``, a small
            image on Ubuntu, built in the account right after the first deployment.
        images: What images jobs may have built with ``image:``, and how built images are kept.
            Default: jobs may choose Docker's official images as the base.
        runner_name_prefix: What the runners' names begin with. Fleets that serve the same
            repositories need one each.
        cluster: ECS cluster that runners' tasks run in. It needs the capacity providers ``FARGATE``
            and ``FARGATE_SPOT``, which it is given if it is of this app. Default: one is made.
        event_bus: EventBridge bus that the fleet's own events travel on, and no other fleet's.
            Default: one is made.
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
        webhook: Who may call ``webhook_url``, and how much at a time. Default: whoever signs with
            a secret that is made, from everywhere.
        reconciliation: When the fleet looks at GitHub for what events have missed. Default: every
            2 minutes.
        functions: What all functions have in common. Default: no traces, and the public layer with
            Powertools for AWS Lambda.

    Raises:
        TypeError: if a value is of another kind than its parameter's annotation.
        ValueError: if a value cannot work; the message says what would.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        github: GitHub,
        classes: Mapping[str, RunnerClass] | None = None,
        image: RunnerImage | None = None,
        images: ImageBuilds | None = None,
        runner_name_prefix: str = "fleet",
        cluster: ecs.ICluster | None = None,
        event_bus: events.IEventBus | None = None,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        assign_public_ip: bool = True,
        encryption_key: kms.IKey | None = None,
        log_retention: logs.RetentionDays | None = None,
        limits: RunnerLimits | None = None,
        timeouts: LifecycleTimeouts | None = None,
        webhook: Webhook | None = None,
        reconciliation: Reconciliation | None = None,
        functions: FunctionOptions | None = None,
    ) -> None:
        check_types(RunnerFleet.__init__, locals())
        super().__init__(scope, construct_id)
        limits = limits or RunnerLimits()
        self.limits = limits if github.is_one_repository else limits.among_repositories()
        timeouts = timeouts or LifecycleTimeouts()
        webhook = webhook or Webhook()
        webhook.check_token(github.token)
        options = with_network(self, functions or FunctionOptions())
        at_rest = DataAtRest(self, encryption_key=encryption_key, log_retention=log_retention)
        self.runner_name_prefix = runner_name_prefix

        # what is there
        self.github = GitHubConnection(self, "GitHub", github=github, at_rest=at_rest)
        self.registry = RunnerRegistry(self, "Registry", at_rest=at_rest)
        fleet_images = FleetImages.of(
            image or RunnerImage.built(), DEFAULT_RUNNER_CLASSES if classes is None else classes
        )
        self.catalog = RunnerCatalog(
            self, "Catalog", classes=classes, images=fleet_images.of_classes
        )
        self.catalog.check_rules(github.label_rules)
        self.bus = FleetBus(self, "EventBus", at_rest=at_rest, event_bus=event_bus)
        self.api = FleetApi(self, "Api", at_rest=at_rest)
        builds = images or ImageBuilds()
        github.check_choice(builds.globs, is_explicit=builds.allowed_bases is not None)
        self.image_pipeline = ImagePipeline(
            self,
            "Image",
            images=fleet_images,
            builds=builds,
            architectures=self.catalog.architectures,
            at_rest=at_rest,
        )
        self.network = RunnerNetwork(
            self,
            "Network",
            vpc=vpc or vpc_of(cluster, vpc_subnets),
            vpc_subnets=vpc_subnets,
            security_groups=security_groups,
            assign_public_ip=assign_public_ip,
        )
        self.cluster = RunnerCluster(
            self,
            "Cluster",
            images=self.image_pipeline,
            at_rest=at_rest,
            architectures=self.catalog.architectures,
            cluster=cluster,
        )

        # whom the lifecycle calls
        self.registration = RunnerRegistration(
            self,
            "Registration",
            api=self.api,
            cluster=self.cluster,
            registry=self.registry,
            github=self.github,
            options=options,
            at_rest=at_rest,
            reserved_concurrency=webhook.reserved_concurrency,
        )
        self.images = ImageService(
            self,
            "Images",
            pipeline=self.image_pipeline,
            registry=self.registry,
            cluster=self.cluster,
            github=self.github,
            bus=self.bus,
            build_timeout=timeouts.image_build,
            options=options,
            at_rest=at_rest,
        )
        self.lifecycle = RunnerLifecycle(
            self,
            "Lifecycle",
            cluster=self.cluster,
            network=self.network,
            registry=self.registry,
            api=self.api,
            registration=self.registration,
            images=self.images,
            timeouts=timeouts,
            options=options,
            at_rest=at_rest,
        )

        # who starts runners, and tells of jobs
        self.intake = WebhookIntake(
            self,
            "Intake",
            api=self.api,
            bus=self.bus,
            github=github,
            webhook=webhook,
            runner_name_prefix=runner_name_prefix,
            options=options,
            at_rest=at_rest,
        )
        self.dispatch = EventDispatch(
            self,
            "Dispatch",
            registry=self.registry,
            catalog=self.catalog,
            cluster=self.cluster,
            images=self.images,
            lifecycle=self.lifecycle,
            github=self.github,
            bus=self.bus,
            limits=self.limits,
            runner_name_prefix=runner_name_prefix,
            options=options,
            at_rest=at_rest,
        )
        self.reconciliation = DemandReconciliation(
            self,
            "Reconciliation",
            dispatch=self.dispatch,
            lifecycle=self.lifecycle,
            cluster=self.cluster,
            github=self.github,
            bus=self.bus,
            webhook_url=self.intake.url,
            options=options,
            at_rest=at_rest,
            reconciliation=reconciliation or Reconciliation(),
        )
        self.explanation = JobExplanation(
            self,
            "Explanation",
            registry=self.registry,
            catalog=self.catalog,
            limits=self.limits,
            github=self.github,
            bus=self.bus,
            options=options,
            at_rest=at_rest,
        )

        # what it is measured by
        self.fleet_name = fleet_name(self.registry)
        self.state_machine = self.lifecycle.state_machine
        self.dead_letter_queue = self.bus.dead_letter_queue
        self.daily_budget_usd = self.limits.daily_budget_usd
        self.github_callers = self.github.callers
        self.function_logs = [each.log_group for each in self._functions()]
        self.lifecycle_logs = self.lifecycle.log_group

    @property
    def webhook_url(self) -> str:
        """The URL to enter at GitHub as the webhook's payload URL."""
        return self.intake.url

    @property
    def webhook_secret(self) -> secretsmanager.ISecret:
        """The secret to enter at GitHub as the webhook's."""
        return self.intake.secret

    @property
    def github_token(self) -> secretsmanager.ISecret | None:
        """The secret with the token that GitHub is asked with; none with GitHub Apps."""
        return self.github.token

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

        Until something is granted to the fleet, a job's environment leads to none. Jobs had better
        use OIDC, because every job on every runner, whoever wrote its workflow, holds what is
        granted here.
        """
        return self.cluster.grant_principal

    def add_dashboard(
        self, *, dashboard_name: str | None = None, alarms: FleetAlarms | None = None
    ) -> FleetDashboard:
        """Add a dashboard of the fleet: see :class:`FleetDashboard`.

        Args:
            dashboard_name: Its name. Default: CloudFormation makes one.
            alarms: Alarms whose state is shown on top. Default: none is shown.
        """
        # only here, as what follows: a fleet does without these modules
        from cdk_runner_fleet.dashboard import FleetDashboard  # noqa: PLC0415

        return FleetDashboard(
            self, "Dashboard", fleet=self, dashboard_name=dashboard_name, alarms=alarms
        )

    def add_log_queries(self) -> FleetLogQueries:
        """Save queries of the fleet's logs: see :class:`FleetLogQueries`."""
        from cdk_runner_fleet.log_queries import FleetLogQueries  # noqa: PLC0415

        return FleetLogQueries(self, "LogQueries", fleet=self)

    def _functions(self) -> Iterator[FleetFunction]:
        yield self.intake.receive_webhook
        yield self.dispatch.dispatch_event
        yield self.registration.runner_api
        yield self.registration.check_runner
        yield self.registration.deregister_runner
        yield self.reconciliation.reconcile_demand
        yield self.explanation.explain_job
        yield self.images.watch_release
        if self.images.build_image:
            yield self.images.build_image
            yield self.images.define_task

    def add_alarms(
        self,
        topic: sns.ITopic | None = None,
        *,
        longest_wait: Duration | None = None,
        failed_runners: int = 5,
    ) -> FleetAlarms:
        """Add the fleet's alarms: see :class:`FleetAlarms`.

        Args:
            topic: Who is told when one rings. Default: nobody.
            longest_wait: How long a job may wait for its runner to be there. Default: 30 minutes.
            failed_runners: Runners that may fail within 15 minutes before one rings.
        """
        # a tenth of a second: it loads what alarms may do
        from cdk_runner_fleet.alarms import FleetAlarms  # noqa: PLC0415

        return FleetAlarms(
            self,
            "Alarms",
            fleet=self,
            topic=topic,
            longest_wait=longest_wait,
            failed_runners=failed_runners,
        )

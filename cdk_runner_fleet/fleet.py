"""The fleet: a platform and the rooms that hear of GitHub's jobs; what other apps import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jsii
from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_runner_fleet import rooms
from cdk_runner_fleet._name import name_fleet
from cdk_runner_fleet.metrics import IRunnerFleet
from cdk_runner_fleet.platform import RunnerPlatform
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.github import GitHub
from cdk_runner_fleet.values.limits import RunnerLimits
from cdk_runner_fleet.values.reconciliation import Reconciliation
from cdk_runner_fleet.values.runner_class import RunnerClass
from cdk_runner_fleet.values.runner_image import ImageBuilds, RunnerImage
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts
from cdk_runner_fleet.values.types import check_types, is_token
from cdk_runner_fleet.values.webhook import Webhook

if TYPE_CHECKING:
    from aws_cdk import aws_cloudwatch as cloudwatch
    from aws_cdk import aws_ecs as ecs
    from aws_cdk import aws_events as events
    from aws_cdk import aws_kms as kms
    from aws_cdk import aws_logs as logs
    from aws_cdk import aws_secretsmanager as secretsmanager
    from aws_cdk import aws_sns as sns

    from cdk_runner_fleet.alarms import FleetAlarms
    from cdk_runner_fleet.dashboard import FleetDashboard
    from cdk_runner_fleet.log_queries import FleetLogQueries

_NAMES = "cdk-runner-fleet:runner-names"
"""Metadata of the app: whose names of runners are whose."""


@jsii.implements(ec2.IConnectable, iam.IGrantable)
class RunnerFleet(IRunnerFleet):
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
        webhook: Who may call ``webhook_url``, and how much at a time. Default: whoever signs with
            a secret that is made, from everywhere.
        reconciliation: When the fleet looks at GitHub for what events have missed. Default: every
            2 minutes.
        functions: What all functions have in common. Default: no traces, and the public layer with
            Powertools for AWS Lambda.

    Attributes:
        platform: What its runners run on: cluster, network, images, tables, bus and state machine.
        fleet_name: Its name, as its metrics and its tasks' tags have it.
        runner_name_prefix: What its runners' names begin with.
        limits: What its runners are admitted by.
        state_machine: The life of a runner.
        dead_letter_queue: Where events wait that could not be handled.

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
        webhook: Webhook | None = None,
        reconciliation: Reconciliation | None = None,
        functions: FunctionOptions | None = None,
    ) -> None:
        check_types(RunnerFleet.__init__, locals())
        super().__init__(scope, construct_id)
        self.fleet_name = name_fleet(self)
        webhook = webhook or Webhook()
        webhook.check_token(github.token)
        webhook.check_api(github.api_url)
        self.runner_name_prefix = runner_name_prefix
        self.platform = RunnerPlatform(
            self,
            "Platform",
            github=github,
            classes=classes,
            image=image,
            images=images,
            cluster=cluster,
            execution_role=execution_role,
            event_bus=event_bus,
            vpc=vpc,
            vpc_subnets=vpc_subnets,
            security_groups=security_groups,
            assign_public_ip=assign_public_ip,
            encryption_key=encryption_key,
            log_retention=log_retention,
            limits=limits,
            timeouts=timeouts,
            functions=functions,
            reserved_concurrency=webhook.reserved_concurrency,
        )
        platform, connection = self.platform, self.platform.github
        assert connection is not None  # noqa: S101 - the platform was given what to serve
        self.github = connection
        self.limits = platform.limits

        # who starts runners, and tells of jobs
        self.intake = rooms.intake.WebhookIntake(
            self,
            "Intake",
            api=platform.api,
            bus=platform.bus,
            github=github,
            webhook=webhook,
            runner_name_prefix=runner_name_prefix,
            options=platform.functions,
            at_rest=platform.at_rest,
        )
        if self.intake.hook_networks:
            platform.images.note_hook_networks(self.intake.hook_networks)
        self.dispatch = rooms.dispatch.EventDispatch(
            self,
            "Dispatch",
            admission=platform.admission,
            cluster=platform.cluster,
            lifecycle=platform.lifecycle,
            github=self.github,
            bus=platform.bus,
            runner_name_prefix=runner_name_prefix,
            options=platform.functions,
            at_rest=platform.at_rest,
        )
        self.reconciliation = rooms.reconciliation.DemandReconciliation(
            self,
            "Reconciliation",
            admission=platform.admission,
            dispatch=self.dispatch,
            lifecycle=platform.lifecycle,
            cluster=platform.cluster,
            github=self.github,
            bus=platform.bus,
            webhook_url=self.intake.url,
            options=platform.functions,
            at_rest=platform.at_rest,
            reconciliation=reconciliation or Reconciliation(),
        )
        self.explanation = rooms.explanation.JobExplanation(
            self,
            "Explanation",
            registry=platform.registry,
            catalog=platform.catalog,
            limits=self.limits,
            github=self.github,
            bus=platform.bus,
            options=platform.functions,
            at_rest=platform.at_rest,
        )

        # what it is measured by
        self.state_machine = platform.state_machine
        self.dead_letter_queue = platform.dead_letter_queue
        self.daily_budget_usd = platform.daily_budget_usd
        self.github_callers = platform.github_callers
        self.function_logs = platform.function_logs
        self.lifecycle_logs = platform.lifecycle_logs
        _take_names(self, github, runner_name_prefix)

    @staticmethod
    def from_runner_fleet_attributes(
        scope: Construct,
        construct_id: str,
        *,
        fleet_name: str,
        state_machine_arn: str,
        failed_events_queue_arn: str,
        function_log_group_name: str | None = None,
        lifecycle_log_group_name: str | None = None,
        daily_budget_usd: float | None = None,
        github_callers: Sequence[str] = ("token",),
    ) -> IRunnerFleet:
        """Take a fleet of another stack by its names, for a dashboard, alarms or queries here.

        Args:
            scope: The construct's parent, in the fleet's account and region.
            construct_id: The construct's id in it.
            fleet_name: The fleet's name: ``FleetName`` of a ``RunnerFleetStack``'s outputs.
            state_machine_arn: ARN of its state machine: ``StateMachineArn``.
            failed_events_queue_arn: ARN of its dead-letter queue: ``FailedEventsQueueArn``.
            function_log_group_name: Where its functions log: ``FunctionLogGroupName``. Default: it
                is not known, and no queries can be saved.
            lifecycle_log_group_name: Where its executions log: ``LifecycleLogGroupName``. Default:
                as above.
            daily_budget_usd: Its budget of a day, in US dollars: ``DailyBudgetUsd``. Default: it
                has none, or nobody is to be told of it.
            github_callers: Who asks GitHub there: ``token``, or ``app-<id>`` for each of its Apps.
                Default: ``token``.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if an ARN is none of its kind.
        """
        check_types(RunnerFleet.from_runner_fleet_attributes, locals())
        # only here, as what follows: a fleet does without these modules
        from cdk_runner_fleet.imported import ImportedFleet  # noqa: PLC0415

        return ImportedFleet(
            scope,
            construct_id,
            fleet_name=fleet_name,
            state_machine_arn=state_machine_arn,
            failed_events_queue_arn=failed_events_queue_arn,
            function_log_group_name=function_log_group_name,
            lifecycle_log_group_name=lifecycle_log_group_name,
            daily_budget_usd=daily_budget_usd,
            github_callers=github_callers,
        )

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
        return self.platform.vpc

    @property
    def connections(self) -> ec2.Connections:
        """The runners' network connections."""
        return self.platform.connections

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The role of the runners' tasks, whose AWS credentials jobs get from the first grant on.

        Until something is granted to the fleet, a job's environment leads to none. Jobs had better
        use OIDC, because every job on every runner, whoever wrote its workflow, holds what is
        granted here.
        """
        return self.platform.grant_principal

    def runner_class(self, name: str) -> rooms.classes.ClassRunners:
        """The runners of one class, to be granted something and be let in somewhere.

        ``bucket.grant_read(fleet.runner_class("huge"))`` gives jobs of that class a role.

        Args:
            name: The class's, as it is deployed.

        Raises:
            ValueError: if there is none.
        """
        return self.platform.runner_class(name)

    def add_dashboard(
        self, *, dashboard_name: str | None = None, alarms: FleetAlarms | None = None
    ) -> FleetDashboard:
        """Add a dashboard of the fleet: see :class:`FleetDashboard`.

        Args:
            dashboard_name: Its name. Default: CloudFormation makes one.
            alarms: Alarms whose state is shown on top. Default: none is shown.
        """
        from cdk_runner_fleet.dashboard import FleetDashboard  # noqa: PLC0415

        return FleetDashboard(
            self, "Dashboard", fleet=self, dashboard_name=dashboard_name, alarms=alarms
        )

    def add_log_queries(self) -> FleetLogQueries:
        """Save queries of the fleet's logs: see :class:`FleetLogQueries`."""
        from cdk_runner_fleet.log_queries import FleetLogQueries  # noqa: PLC0415

        return FleetLogQueries(self, "LogQueries", fleet=self)

    def add_alarms(
        self,
        topic: sns.ITopic | None = None,
        *,
        alarm_actions: Sequence[cloudwatch.IAlarmAction] = (),
        longest_wait: Duration | None = None,
        failed_runners: int = 5,
    ) -> FleetAlarms:
        """Add the fleet's alarms: see :class:`FleetAlarms`.

        Args:
            topic: Who is told when one rings. Default: nobody by a topic.
            alarm_actions: What else is done when one rings. Default: nothing.
            longest_wait: How long a job may wait for its runner to be there. Default: 30 minutes.
            failed_runners: Runners that may fail within 15 minutes before one rings.
        """
        from cdk_runner_fleet.alarms import FleetAlarms  # noqa: PLC0415

        return FleetAlarms(
            self,
            "Alarms",
            fleet=self,
            topic=topic,
            alarm_actions=alarm_actions,
            longest_wait=longest_wait,
            failed_runners=failed_runners,
        )


def _take_names(fleet: RunnerFleet, github: GitHub, prefix: str) -> None:
    """Check that no other fleet of the app names its runners so where this one's register."""
    if is_token(prefix) or is_token(github.scope) or is_token(github.api_url):
        return
    app = fleet.node.root.node
    names = " ".join((github.api_url.rstrip("/"), github.scope, prefix)).lower()
    for taken in (one.data for one in app.metadata if one.type == _NAMES):
        if taken["names"] == names:
            raise ValueError(
                f"runner_name_prefix {prefix!r} is {taken['fleet']}'s already, which serves "
                f"{github.scope} too: by it each knows its own runners, and would stop the "
                "other's. Give each fleet its own"
            )
    app.add_metadata(_NAMES, {"names": names, "fleet": fleet.node.path})

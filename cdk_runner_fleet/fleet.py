"""The fleet: composes the rooms, and is what other apps import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jsii
from aws_cdk import Duration, Token
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet._function import FunctionOptions
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet.metrics import FleetMetrics
from cdk_runner_fleet.rooms.api import FleetApi
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.catalog import RunnerCatalog
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.dispatch import EventDispatch
from cdk_runner_fleet.rooms.explanation import JobExplanation
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.rooms.images import ImageService
from cdk_runner_fleet.rooms.intake import WebhookIntake
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.rooms.reconciliation import DemandReconciliation
from cdk_runner_fleet.rooms.registration import RunnerRegistration
from cdk_runner_fleet.rooms.registry import RunnerRegistry
from cdk_runner_fleet.values.github import GitHubApp, RegisterFor, check_choice, served_scope
from cdk_runner_fleet.values.labels import LabelRules
from cdk_runner_fleet.values.limits import RunnerLimits, repository_share
from cdk_runner_fleet.values.runner_class import RunnerClass
from cdk_runner_fleet.values.runner_image import ImageBuilds, RunnerImage
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts
from cdk_runner_fleet.values.types import check_types

if TYPE_CHECKING:
    from aws_cdk import aws_sns as sns

    from cdk_runner_fleet.alarms import FleetAlarms


@jsii.implements(ec2.IConnectable, iam.IGrantable)
class RunnerFleet(FleetMetrics):
    """GitHub Actions runners: one Fargate task a job, gone when the job is.

    They serve one repository, one organization or one enterprise. Point its webhook, or that of a
    GitHub App (event ``workflow_job``), at ``webhook_url`` and put a token into ``github_token`` or
    name the App in ``github_apps``; jobs that run on ``self-hosted`` then find their runner.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        github_repo: The repository to serve, ``owner/repo``. Events of others are answered and
            ignored, here and below. Exactly one of this and the next two is given.
        github_org: The organization to serve, its login.
        github_enterprise: The enterprise to serve, its slug.
        github_token: Secret whose value is a personal access token that may manage the runners.
            Default: a secret with a meaningless value is made, to be replaced once, unless there
            are ``github_apps``.
        github_apps: GitHub Apps to ask GitHub as, instead of with a token; not for an enterprise.
            Several share what GitHub lets each ask in an hour. The first is the one whose webhook
            points here, if an App's does.
        runner_group: Name of the runner group that the runners join. Default: GitHub's default
            group, the only one that a repository has.
        register_for: ``repository`` to register each runner for the repository of the job that it
            is started for, so that no other repository's job gets it. It needs a permission to
            administer each repository, see ``docs/github-access.md``. Default: runners are
            registered for what the fleet serves, which any job in it may get.
        image_runner_group: Name of the runner group of those whose job chose its image, which only
            repositories may use that may choose images: that is said at GitHub. Default: in an
            organization or enterprise a job that chooses an image is refused, unless
            ``register_for`` is ``repository``.
        webhook_secret: Secret that GitHub signs its deliveries with. Default: one is made with a
            random value.
        webhook_allowed_cidrs: Networks that deliveries may come from, for example those that GitHub
            lists as ``hooks`` in its ``/meta``. Behind a proxy of your own they are its addresses.
            Default: everywhere; the signature decides.
        reserved_concurrency: Invocations at a time that Lambda keeps free for ``receive_webhook``,
            and as many for ``runner_api``: neither gets more, so that no flood takes what the
            account's other functions need. 50 serve 1,000 runners. Default: none is reserved,
            because Lambda refuses what leaves less than 100 to all others, or less than 10 in an
            account that is new and has no more, and with it the deployment.
        github_api_url: GitHub's REST API. Default: ``https://api.github.com``; GitHub Enterprise
            Cloud with data residency has ``https://api.<name>.ghe.com``, a GitHub Enterprise Server
            ``https://<host>/api/v3``.
        github_ca: Parameter with the certificate authorities of such a server, in PEM, which are
            then the only ones trusted. Default: the public ones. The runners trust what their
            image does.
        required_labels: What a job has to hold besides ``self-hosted`` to be this fleet's. Jobs
            without all of them are left alone, for other runners and other fleets of the same
            organization; name one wherever there are some. Default: none.
        single_labels: Class names by a label that is a job's only one, as of the jobs that GitHub
            writes itself: ``{"dependabot": "medium", "code-scanning": "large"}``. Default: none.
        runner_classes: Sizes of runner by name, the first one for jobs that name none. Default:
            ``small`` 512/1024, ``medium`` 1024/2048, ``large`` 2048/4096 (CPU units/MiB).
        image: The image for jobs without ``image:``. Default: ``RunnerImage.built()``, a small
            image on Ubuntu, built in the account right after the first deployment.
        images: What images jobs may have built with ``image:``, and how built images are kept.
            Default: jobs may choose Docker's official images as the base.
        runner_name_prefix: What the runners' names begin with. Fleets that serve the same
            repositories need one each.
        event_bus_name: Name of the fleet's event bus. Default: a unique name is made.
        vpc: VPC of the runners. Default: one with two public subnets, no NAT gateway and no inbound
            rule is made, unless ``subnets`` are given.
        availability_zones: Names of the zones that this VPC is made in. Fargate is not in every
            zone of some regions. Default: the region's first two.
        subnets: Subnets of the runners. Default: the public subnets of ``vpc``, or its private ones
            with egress if ``assign_public_ip`` is off.
        security_groups: Security groups of the runners. Default: one without an inbound rule.
        assign_public_ip: Whether a runner has a public IPv4 address of its own.
        timeouts: How long each waiting state may last. Default: boot 5 minutes, idle 10 minutes,
            image build 30 minutes, job 6 hours.
        explain_at_github: Whether the author of a job that cannot be served is told so at the
            commit, with a check run or a commit status. Default: yes, where the credentials may.
        reconcile_every: How often GitHub's queued jobs are compared with the runners, in whole
            minutes. Default: every 2 minutes.
        reconcile_grace: Jobs and runners younger than this are left alone then; pauses between one
            job's runners are 10 and 60 times as long. Default: 60 seconds.
        rerun_lost_jobs: Whether a job whose runner is gone before it reported an end is run again,
            once, from its beginning. Default: GitHub cancels or fails it.
        max_runners: Runners of the whole fleet at a time, 1 to 1000; further jobs wait in line.
            Default: 100, which is how many tasks Fargate launches in one burst.
        max_runners_per_repository: Runners for the jobs of one repository at a time. Default: half
            of ``max_runners`` for an organization or enterprise, so that no repository takes what
            all others need; as many as the fleet may have for a repository that is served alone, or
            if ``max_runners`` is known at deployment only.
        daily_budget_usd: Estimated cost of runners and of builds of images on one day, UTC, in US
            dollars, after which no runner is started until the next day. What a runner or a build
            costs counts when it has ended, so those that run when the budget is spent come on top.
            Default: no budget.
        tracing: Whether X-Ray gets a trace of what the functions do, and with ``ACTIVE`` of each
            runner's execution. Default: ``DISABLED``. X-Ray bills 5 US dollars for a million traces
            (AWS X-Ray pricing), and most of a job's would be of its runner's heartbeats.
        powertools_layer: The layer with Powertools for AWS Lambda, with all of its extras, for
            Python 3.14 on arm64. Default: the newest that its publisher's public parameter names
            at deployment. GovCloud, China, me-south-1, me-central-1, ap-southeast-6 and ap-east-2
            have no such parameter.

    Raises:
        TypeError: if a value is of another kind than its parameter's annotation.
        ValueError: if a value cannot work; the message says what would.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        github_repo: str | None = None,
        github_org: str | None = None,
        github_enterprise: str | None = None,
        github_token: secretsmanager.ISecret | None = None,
        github_apps: Sequence[GitHubApp] = (),
        runner_group: str | None = None,
        register_for: RegisterFor | None = None,
        image_runner_group: str | None = None,
        webhook_secret: secretsmanager.ISecret | None = None,
        webhook_allowed_cidrs: Sequence[str] = (),
        reserved_concurrency: int | None = None,
        github_api_url: str = "https://api.github.com",
        github_ca: ssm.IStringParameter | None = None,
        required_labels: Sequence[str] = (),
        single_labels: Mapping[str, str] | None = None,
        runner_classes: Mapping[str, RunnerClass] | None = None,
        image: RunnerImage | None = None,
        images: ImageBuilds | None = None,
        runner_name_prefix: str = "fleet",
        event_bus_name: str | None = None,
        vpc: ec2.IVpc | None = None,
        availability_zones: Sequence[str] | None = None,
        subnets: Sequence[ec2.ISubnet] | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        assign_public_ip: bool = True,
        timeouts: LifecycleTimeouts | None = None,
        explain_at_github: bool = True,
        reconcile_every: Duration | None = None,
        reconcile_grace: Duration | None = None,
        rerun_lost_jobs: bool = False,
        max_runners: int = 100,
        max_runners_per_repository: int | None = None,
        daily_budget_usd: float | None = None,
        tracing: lambda_.Tracing = lambda_.Tracing.DISABLED,
        powertools_layer: lambda_.ILayerVersion | None = None,
    ) -> None:
        check_types(RunnerFleet.__init__, locals())
        super().__init__(scope, construct_id)
        served = served_scope(
            github_repo=github_repo, github_org=github_org, github_enterprise=github_enterprise
        )
        self.limits = RunnerLimits(
            max_runners=max_runners,
            max_runners_per_repository=(
                repository_share(max_runners, serving=served)
                if max_runners_per_repository is None
                else max_runners_per_repository
            ),
            daily_budget_usd=daily_budget_usd,
        )
        self.label_rules = LabelRules(
            required_labels=required_labels, single_labels=single_labels or {}
        )
        _check_concurrency(reserved_concurrency)
        timeouts = timeouts or LifecycleTimeouts()
        options = FunctionOptions(tracing=tracing, powertools_layer=powertools_layer)
        self.runner_name_prefix = runner_name_prefix

        # what is there
        self.github = GitHubConnection(
            self,
            "GitHub",
            serving=served,
            api_url=github_api_url,
            token=github_token,
            apps=github_apps,
            runner_group=runner_group,
            register_for=register_for,
            image_runner_group=image_runner_group,
            ca=github_ca,
        )
        self.registry = RunnerRegistry(self, "Registry")
        self.catalog = RunnerCatalog(self, "Catalog", classes=runner_classes)
        self.label_rules.check_classes(self.catalog.classes)
        self.bus = FleetBus(self, "EventBus", event_bus_name=event_bus_name)
        self.api = FleetApi(self, "Api")
        builds = images or ImageBuilds()
        check_choice(
            builds.globs,
            is_explicit=builds.allowed_bases is not None,
            register_for=register_for,
            image_runner_group=image_runner_group,
            scope=served,
        )
        self.image_pipeline = ImagePipeline(
            self,
            "Image",
            image=image or RunnerImage.built(),
            builds=builds,
            architectures=self.catalog.architectures,
        )
        self.cluster = RunnerCluster(
            self,
            "Cluster",
            images=self.image_pipeline,
            architectures=self.catalog.architectures,
            vpc=vpc,
            availability_zones=availability_zones,
            subnets=subnets,
            security_groups=security_groups,
            assign_public_ip=assign_public_ip,
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
            reserved_concurrency=reserved_concurrency,
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
        )
        self.lifecycle = RunnerLifecycle(
            self,
            "Lifecycle",
            cluster=self.cluster,
            registry=self.registry,
            api=self.api,
            registration=self.registration,
            images=self.images,
            timeouts=timeouts,
            options=options,
        )

        # who starts runners, and tells of jobs
        self.intake = WebhookIntake(
            self,
            "Intake",
            api=self.api,
            bus=self.bus,
            serving=served,
            label_rules=self.label_rules,
            runner_name_prefix=runner_name_prefix,
            options=options,
            secret=webhook_secret,
            allowed_cidrs=webhook_allowed_cidrs,
            reserved_concurrency=reserved_concurrency,
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
            label_rules=self.label_rules,
            runner_name_prefix=runner_name_prefix,
            options=options,
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
            every=reconcile_every,
            grace=reconcile_grace,
            rerun_lost_jobs=rerun_lost_jobs,
        )
        self.explanation = JobExplanation(
            self,
            "Explanation",
            registry=self.registry,
            catalog=self.catalog,
            limits=self.limits,
            label_rules=self.label_rules,
            github=self.github,
            bus=self.bus,
            at_github=explain_at_github,
            options=options,
        )

        # what it is measured by
        self.fleet_name = fleet_name(self.registry)
        self.state_machine = self.lifecycle.state_machine
        self.dead_letter_queue = self.bus.dead_letter_queue
        self.daily_budget_usd = daily_budget_usd
        self.github_callers = self.github.callers

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
    def connections(self) -> ec2.Connections:
        """The runners' network connections."""
        return self.cluster.connections

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The role of the runners' tasks, whose AWS credentials jobs get from the first grant on.

        Until something is granted to the fleet, a job's environment leads to none. Jobs had better
        use OIDC, because every job on every runner, whoever wrote its workflow, holds what is
        granted here.
        """
        return self.cluster.grant_principal

    def add_alarms(
        self, topic: sns.ITopic | None = None, *, failed_runners: int = 5
    ) -> FleetAlarms:
        """Add the fleet's alarms: see :class:`FleetAlarms`.

        Args:
            topic: Who is told when one rings. Default: nobody.
            failed_runners: Runners that may fail within 15 minutes before one rings.
        """
        # only here: what alarms do loads a tenth of a second of modules that a fleet does without
        from cdk_runner_fleet.alarms import FleetAlarms  # noqa: PLC0415

        return FleetAlarms(self, "Alarms", fleet=self, topic=topic, failed_runners=failed_runners)


def _check_concurrency(value: int | None) -> None:
    if value is not None and not Token.is_unresolved(value) and value < 1:
        raise ValueError(
            f"reserved_concurrency is {value}, and Lambda would run nothing: use 1 or more, 50 for "
            "1,000 runners, or leave it out"
        )

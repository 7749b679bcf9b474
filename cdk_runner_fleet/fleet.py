"""The fleet: composes the rooms, and is what other apps import."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import jsii
from aws_cdk import Duration, Tokenization
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet import _settings
from cdk_runner_fleet._function import METRICS_NAMESPACE, FleetFunction
from cdk_runner_fleet._nag import acknowledge_nag_rules
from cdk_runner_fleet._recipe import pinned_release
from cdk_runner_fleet.api import FleetApi
from cdk_runner_fleet.bus import FleetBus
from cdk_runner_fleet.catalog import RunnerCatalog
from cdk_runner_fleet.cluster import RunnerCluster
from cdk_runner_fleet.github import GitHubConnection
from cdk_runner_fleet.image import RunnerImage
from cdk_runner_fleet.lifecycle import RunnerLifecycle
from cdk_runner_fleet.reconciliation import DemandReconciliation
from cdk_runner_fleet.registry import (
    LIVE_INDEX,
    ROW_LIFETIME,
    WAITING_INDEX,
    RunnerRegistry,
)
from cdk_runner_fleet.release import ReleaseWatch
from cdk_runner_fleet.values import (
    ARCHITECTURES,
    Architecture,
    GitHubApp,
    LifecycleTimeouts,
    RunnerClass,
)


@jsii.implements(ec2.IConnectable, iam.IGrantable)
class RunnerFleet(Construct):
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
        webhook_secret: Secret that GitHub signs its deliveries with. Default: one is made with a
            random value.
        github_api_url: GitHub's REST API. Default: ``https://api.github.com``; GitHub Enterprise
            Cloud with data residency has ``https://api.<name>.ghe.com``, a GitHub Enterprise Server
            ``https://<host>/api/v3``.
        github_ca: Parameter with the certificate authorities of such a server, in PEM, which are
            then the only ones trusted. Default: the public ones. The runners trust what their
            image does.
        runner_classes: Sizes of runner by name, the first one for jobs that name none. Default:
            ``small`` 512/1024, ``medium`` 1024/2048, ``large`` 2048/4096 (CPU units/MiB).
        runner_image: The image for jobs without ``image:``, and what jobs may choose. Default: a
            small image on Ubuntu is built in the account, started right after the first deployment,
            and jobs may choose another base.
        runner_name_prefix: What the runners' names begin with.
        event_bus_name: Name of the fleet's event bus. Default: a unique name is made.
        vpc: VPC of the runners. Default: one with two public subnets, no NAT gateway and no inbound
            rule is made, unless ``subnets`` are given.
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
        max_runners_per_repository: Runners for the jobs of one repository at a time. Default: as
            many as the fleet may have; whoever has the fewest is next anyway.
        daily_budget_usd: Estimated cost of runners on one day, UTC, in US dollars, after which no
            runner is started until the next day. A runner's cost counts when it has ended, so
            those that run when the budget is spent come on top. Default: no budget.

    Raises:
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
        webhook_secret: secretsmanager.ISecret | None = None,
        github_api_url: str = "https://api.github.com",
        github_ca: ssm.IStringParameter | None = None,
        runner_classes: Mapping[str, RunnerClass] | None = None,
        runner_image: RunnerImage | None = None,
        runner_name_prefix: str = "fleet",
        event_bus_name: str | None = None,
        vpc: ec2.IVpc | None = None,
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
    ) -> None:
        super().__init__(scope, construct_id)
        served = _settings.scope(
            github_repo=github_repo, github_org=github_org, github_enterprise=github_enterprise
        )
        _settings.check_credentials(github_apps, has_token=github_token is not None, scope=served)
        _settings.check_runner_group(runner_group, scope=served)
        _settings.check_api_url(github_api_url)
        _settings.check_name_prefix(runner_name_prefix)
        _settings.check_max_runners("max_runners", max_runners)
        if max_runners_per_repository is not None:
            _settings.check_max_runners("max_runners_per_repository", max_runners_per_repository)
        _settings.check_budget(daily_budget_usd)
        _settings.check_reconciliation(every=reconcile_every, grace=reconcile_grace)
        timeouts = timeouts or LifecycleTimeouts()
        self.runner_name_prefix = runner_name_prefix
        self.max_runners = max_runners
        self.daily_budget_usd = daily_budget_usd

        self.github_token = github_token
        if self.github_token is None and not github_apps:
            self.github_token = secretsmanager.Secret(
                self, "GithubToken", description="cdk-runner-fleet: put a GitHub token here"
            )
        self.github = GitHubConnection(
            scope=served,
            api_url=github_api_url,
            token=self.github_token,
            apps=github_apps,
            runner_group=runner_group,
            ca=github_ca,
        )
        self.webhook_secret = webhook_secret or secretsmanager.Secret(
            self,
            "WebhookSecret",
            description="cdk-runner-fleet: GitHub signs its deliveries with this",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=40, exclude_punctuation=True
            ),
        )
        self.registry = RunnerRegistry(self, "Registry")
        self.catalog = RunnerCatalog(self, "Catalog", classes=runner_classes)
        self.bus = FleetBus(self, "EventBus", event_bus_name=event_bus_name)
        self.api = FleetApi(self, "Api")
        self.runner_image = image = runner_image or RunnerImage(self, "Images")
        architectures = _architectures(self.catalog.classes)
        image.bind(architectures=architectures)
        self.cluster = RunnerCluster(
            self,
            "Cluster",
            image=image.image_uri or _built(image),
            # what is launched without a ready image is cloned, for either architecture
            architectures=architectures if image.image_uri else architectures[:1],
            capabilities=image.capabilities,
            repository=image.repository,
            vpc=vpc,
            subnets=subnets,
            security_groups=security_groups,
            assign_public_ip=assign_public_ip,
        )

        policy = {
            "ALLOWED_IMAGES": json.dumps(image.allowed_bases),
            "IMAGE_BUILDING": "on" if image.is_built else "off",
        }
        default_image = {
            "TASK_FAMILY": self.cluster.task_family,
            "DEFAULT_IMAGE_BASE": image.base_image,
            "RUNNER_IMAGE_TAG": image.name,
            "IMAGE_RECIPE": image.recipe,
        }
        runner_table = self.registry.runner_table
        table = {"RUNNER_TABLE": runner_table.table_name}
        releases = {
            "IMAGE_TABLE": self.registry.image_table.table_name,
            "LEDGER_TABLE": self.registry.ledger_table.table_name,
            "RUNNER_RELEASE": pinned_release(),
        }
        admission = {
            "LEDGER_TABLE": self.registry.ledger_table.table_name,
            "MAX_RUNNERS": _number(max_runners),
            "MAX_RUNNERS_PER_REPOSITORY": _number(max_runners_per_repository),
            "DAILY_BUDGET_USD": _number(daily_budget_usd),
        }

        self.deregister_runner = FleetFunction(
            self,
            "DeregisterRunner",
            handler="deregister_runner",
            environment={**table, **self.github.environment(runners="write")},
        )
        self.check_runner = FleetFunction(
            self,
            "CheckRunner",
            handler="check_runner",
            environment={
                **table,
                **self.github.environment(runners="read", also={"actions": "read"}),
            },
        )
        self.build_image = (
            self._image_builder(image, {**table, **releases, **default_image}, timeouts.image_build)
            if image.is_built
            else None
        )
        self.release_watch = ReleaseWatch(
            self,
            "ReleaseWatch",
            environment={
                **releases,
                **self.github.environment(runners="read"),
                "EVENT_BUS_NAME": self.bus.event_bus.event_bus_name,
            },
            dead_letter_queue=self.bus.dead_letter_queue,
        )
        self.watch_release = self.release_watch.function
        self.lifecycle = RunnerLifecycle(
            self,
            "Lifecycle",
            cluster=self.cluster,
            runner_table=runner_table,
            image_table=self.registry.image_table,
            api_url=self.api.url,
            deregister_function=self.deregister_runner,
            check_function=self.check_runner,
            build_function=self.build_image,
            timeouts=timeouts,
        )
        self.receive_webhook = FleetFunction(
            self,
            "ReceiveWebhook",
            handler="receive_webhook",
            timeout=Duration.seconds(9),  # GitHub waits ten
            memory_size=1024,  # its cold start is what GitHub waits for
            powertools=False,
            environment={
                "EVENT_BUS_NAME": self.bus.event_bus.event_bus_name,
                "WEBHOOK_SECRET_ARN": self.webhook_secret.secret_arn,
                "GITHUB_SCOPE": served,
                **policy,
            },
        )
        starting = {
            **table,
            **default_image,
            **policy,
            **admission,
            "IMAGE_TABLE": self.registry.image_table.table_name,
            "EVENT_BUS_NAME": self.bus.event_bus.event_bus_name,
            "STATE_MACHINE_ARN": self.lifecycle.state_machine.state_machine_arn,
            "CLASS_SIZES_PARAM": self.catalog.parameter.parameter_name,
            "RUNNER_NAME_PREFIX": runner_name_prefix,
            "DEFAULT_TASK_DEFINITIONS": json.dumps(
                {name: made.ref for name, made in self.cluster.task_definitions.items()}
                if image.image_uri
                else {}
            ),
            "IMAGE_CAPABILITIES": json.dumps(image.capabilities),
            "DETECTED_CAPABILITIES": json.dumps(image.detected_capabilities),
            "ARCHITECTURES": json.dumps(architectures),
            "ROW_TTL_SECONDS": str(int(ROW_LIFETIME.to_seconds())),
        }
        self.dispatch_event = FleetFunction(
            self, "DispatchEvent", handler="dispatch_event", environment=starting
        )
        self.reconciliation = DemandReconciliation(
            self,
            "Reconciliation",
            every=reconcile_every or Duration.minutes(2),
            grace=reconcile_grace or Duration.seconds(60),
            rerun_lost_jobs=rerun_lost_jobs,
            environment={
                **starting,
                **self.github.environment(
                    runners="write", also={"actions": "write" if rerun_lost_jobs else "read"}
                ),
                "CLUSTER_ARN": self.cluster.cluster_arn,
                "WEBHOOK_URL": self.webhook_url,
            },
            state_machine_arn=self.lifecycle.state_machine.state_machine_arn,
            dead_letter_queue=self.bus.dead_letter_queue,
        )
        self.reconcile_demand = self.reconciliation.function
        self.runner_api = FleetFunction(
            self,
            "RunnerApi",
            handler="runner_api",
            environment={
                **table,
                **self.github.environment(runners="write", also={"actions": "read"}),
            },
        )
        self.explain_job = FleetFunction(
            self,
            "ExplainJob",
            handler="explain_job",
            environment={
                **table,
                **self.github.environment(also={"checks": "write"}),
                "EXPLAIN_AT_GITHUB": "on" if explain_at_github else "off",
            },
        )
        self._connect()
        acknowledge_nag_rules(self)

    def _image_builder(
        self, image: RunnerImage, environment: Mapping[str, str], timeout: Duration
    ) -> FleetFunction:
        repository = image.repository
        assert repository is not None  # noqa: S101 - there is one where images are built
        projects = {name: project.project_name for name, project in image.projects.items()}
        function = FleetFunction(
            self,
            "BuildImage",
            handler="build_image",
            timeout=Duration.minutes(1),
            environment={
                **environment,
                "IMAGE_BUILD_PROJECTS": json.dumps(projects),
                "ECR_REPOSITORY_NAME": repository.repository_name,
                "RUNNER_REPOSITORY_URL": repository.repository_uri,
                "TASK_DEFINITION_ARN": self.cluster.task_definition_arn,
                "IMAGE_BUILD_TIMEOUT_SECONDS": str(int(timeout.to_seconds())),
                "MAX_BUILDS": _number(image.max_concurrent_builds),
                "BUILD_DEFAULT_IMAGE": "off" if image.image_uri else "on",
            },
        )
        image.grant_build(function)
        self.cluster.grant_register(function)
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            "dynamodb:Scan",
            resources=[self.registry.image_table.table_arn],
        )
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            resources=[self.registry.ledger_table.table_arn],
        )
        function.allow("dynamodb:UpdateItem", resources=[self.registry.runner_table.table_arn])
        function.add_dead_letter_queue(self.bus.dead_letter_queue)
        self.bus.deliver_ended_builds(function, project_names=list(projects.values()))
        self.bus.deliver_days(function)
        return function

    def _connect(self) -> None:
        runner_table = self.registry.runner_table
        self.api.serve(self.receive_webhook, "/webhook")
        self.api.serve(self.runner_api, "/runners/{id}/claim", "/runners/{id}/events")
        builders = [self.build_image] if self.build_image else []
        # the watch at once, and not on its next day: what was pinned long ago may be dead
        self.bus.deliver_retired_versions(self.watch_release, *builders)
        self.bus.deliver_deployments(
            self.watch_release, *(builders if self.runner_image.image_uri is None else [])
        )
        self.bus.deliver_jobs(self.dispatch_event)
        self.bus.deliver_unserved_jobs(self.explain_job)
        self.bus.deliver_stopped_tasks(self.dispatch_event, cluster_arn=self.cluster.cluster_arn)
        self.bus.deliver_ended_runners(
            self.dispatch_event, state_machine_arn=self.lifecycle.state_machine.state_machine_arn
        )
        for function in (self.dispatch_event, self.explain_job):
            function.add_dead_letter_queue(self.bus.dead_letter_queue)

        self.webhook_secret.grant_read(self.receive_webhook)
        for function in (
            self.receive_webhook,
            self.dispatch_event,
            self.reconcile_demand,
            self.watch_release,
        ):
            self.bus.event_bus.grant_put_events_to(function)
        rows = [runner_table.table_arn]
        for function in (self.dispatch_event, self.reconcile_demand):
            self._let_start(function)
        self.lifecycle.grant_list(self.reconcile_demand)
        self.cluster.grant_sweep(self.reconcile_demand)
        for function in (self.runner_api, self.explain_job):
            function.allow("dynamodb:GetItem", "dynamodb:UpdateItem", resources=rows)
        for function in (self.deregister_runner, self.check_runner):
            function.allow("dynamodb:GetItem", resources=rows)
        for function in (
            self.runner_api,
            self.deregister_runner,
            self.check_runner,
            self.explain_job,
            self.reconcile_demand,
            self.watch_release,
        ):
            self.github.grant_ask(function)
        self.watch_release.allow("dynamodb:Scan", resources=[self.registry.image_table.table_arn])
        self.watch_release.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            resources=[self.registry.ledger_table.table_arn],
        )
        self.lifecycle.grant_resume(
            self.dispatch_event,
            self.reconcile_demand,
            self.runner_api,
            *([self.build_image] if self.build_image else []),
        )

    def _let_start(self, function: FleetFunction) -> None:
        """Let a function start runners and signal them, within the limits."""
        runner_table = self.registry.runner_table
        self.catalog.parameter.grant_read(function)
        self.lifecycle.grant_start(function)
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            resources=[runner_table.table_arn],
        )
        function.allow(
            "dynamodb:Query",
            resources=[
                f"{runner_table.table_arn}/index/{index}" for index in (WAITING_INDEX, LIVE_INDEX)
            ],
        )
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            resources=[self.registry.ledger_table.table_arn],
        )
        function.allow("dynamodb:UpdateItem", resources=[self.registry.image_table.table_arn])

    @property
    def webhook_url(self) -> str:
        """The URL to enter at GitHub as the webhook's payload URL."""
        return f"{self.api.url}/webhook"

    @property
    def connections(self) -> ec2.Connections:
        """The runners' network connections."""
        return self.cluster.connections

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The role that jobs get AWS credentials of.

        There is none until something is granted to the fleet: jobs had better use OIDC, because
        every job on every runner, whoever wrote its workflow, holds what is granted here.
        """
        return self.cluster.grant_principal

    def metric_runners_started(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Runners whose life began. Default: the sum over 5 minutes."""
        return self.lifecycle.state_machine.metric_started(period=period, statistic=statistic)

    def metric_runners_failed(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Runners whose life ended in failure. Default: the sum over 5 minutes."""
        return self.lifecycle.state_machine.metric_failed(period=period, statistic=statistic)

    def metric_jobs_refused(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Jobs that asked for what the fleet does not have. Default: the sum over 5 minutes."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="JobRefused",
            dimensions_map={"service": "dispatch_event"},
            period=period,
            statistic=statistic,
        )

    def metric_jobs_in_line(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Jobs that had to wait for their turn. Default: the sum over 5 minutes."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="JobInLine",
            dimensions_map={"service": "dispatch_event"},
            period=period,
            statistic=statistic,
        )

    def metric_budget_spent(
        self, *, period: Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Estimated cost, in US dollars, of the runners that have ended on the day so far, UTC.

        Default: the maximum over 5 minutes.
        """
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="BudgetSpentUsd",
            dimensions_map={"who": self.lifecycle.state_machine.state_machine_name},
            period=period,
            statistic=statistic,
        )

    def metric_jobs_unserved(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Jobs that will have no runner, for whatever reason. Default: the sum over 5 minutes."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="JobUnserved",
            dimensions_map={"service": "explain_job"},
            period=period,
            statistic=statistic,
        )

    def metric_demand_missing(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Queued jobs that had no runner and were given one. Default: the sum over 5 minutes."""
        return self.reconciliation.metric("DemandMissing", period=period, statistic=statistic)

    def metric_surplus_released(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Runners that no queued job needed. Default: the sum over 5 minutes."""
        return self.reconciliation.metric("SurplusReleased", period=period, statistic=statistic)

    def metric_deliveries_redelivered(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Failed webhook deliveries asked for once more. Default: the sum over 5 minutes."""
        return self.reconciliation.metric(
            "DeliveriesRedelivered", period=period, statistic=statistic
        )

    def metric_runners_swept(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Runners, tasks and registrations that were left over. Default: the sum over 5 minutes."""
        return self.reconciliation.metric("RunnersSwept", period=period, statistic=statistic)

    def metric_jobs_lost(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Jobs whose runner was gone before they ended. Default: the sum over 5 minutes."""
        return self.reconciliation.metric("JobLost", period=period, statistic=statistic)

    def metric_image_builds_started(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Builds of runner images that began. Default: the sum over 5 minutes."""
        return _build_metric("ImageBuildStarted", period=period, statistic=statistic)

    def metric_image_builds_failed(
        self, *, period: Duration | None = None, statistic: str = "Sum"
    ) -> cloudwatch.Metric:
        """Builds of runner images that ended without one. Default: the sum over 5 minutes."""
        return _build_metric("ImageBuildFailed", period=period, statistic=statistic)

    def metric_runner_version_days_left(
        self, *, period: Duration | None = None, statistic: str = "Minimum"
    ) -> cloudwatch.Metric:
        """Days until GitHub gives no more jobs to the first runner version in use.

        There is no data as long as GitHub has set no date. Default: the minimum over a day.
        """
        return self.release_watch.metric_days_left(
            period=period or Duration.days(1), statistic=statistic
        )

    @property
    def runner_version_alarm(self) -> cloudwatch.Alarm:
        """Rings when a runner version in use has 14 days left at GitHub.

        It has no action of its own: ``fleet.runner_version_alarm.add_alarm_action(…)``.
        """
        return self.release_watch.alarm

    @property
    def failed_events_alarm(self) -> cloudwatch.Alarm:
        """Rings while an event that could not be handled waits in the dead-letter queue.

        It has no action of its own: ``fleet.failed_events_alarm.add_alarm_action(…)``.
        """
        return self.bus.failed_events_alarm

    def metric_github_quota_left(
        self, *, who: str, period: Duration | None = None, statistic: str = "Minimum"
    ) -> cloudwatch.Metric:
        """Requests that GitHub's primary rate limit leaves, the minimum over 5 minutes by default.

        Args:
            who: ``token``, or ``app-<id>`` for one of ``github_apps``.
            period: What one data point is made of.
            statistic: How.
        """
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="GitHubQuotaLeft",
            dimensions_map={"who": who},
            period=period,
            statistic=statistic,
        )

    def metric_events_failed(
        self, *, period: Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Events that could not be handled and wait in the dead-letter queue.

        Default: the maximum over 5 minutes.
        """
        queue = self.bus.dead_letter_queue
        return queue.metric_approximate_number_of_messages_visible(
            period=period, statistic=statistic
        )


def _number(value: float | None) -> str:
    """A setting as the functions read it: nothing for none, and a token resolved late."""
    return "" if value is None else Tokenization.stringify_number(value)


def _architectures(classes: Mapping[str, RunnerClass]) -> list[Architecture]:
    used = {size.architecture for size in classes.values()}
    return [architecture for architecture in ARCHITECTURES if architecture in used]


def _build_metric(name: str, *, period: Duration | None, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=METRICS_NAMESPACE,
        metric_name=name,
        dimensions_map={"service": "build_image"},
        period=period,
        statistic=statistic,
    )


def _built(image: RunnerImage) -> str:
    # a name for the base definition, which is only cloned and never launched
    assert image.repository is not None  # noqa: S101 - there is one where images are built
    return image.repository.repository_uri_for_tag(image.name)

"""Where runners run: the cluster, the task they are made from, and their logs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import jsii
from aws_cdk import Annotations, ArnFormat, Aws, CfnTag, Duration, Fn, Names, Stack, Token
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct, IDependable

from cdk_runner_fleet._at_rest import DataAtRest, is_multi_region
from cdk_runner_fleet._nag import (
    acknowledge,
    acknowledge_any_resource,
    acknowledge_pattern,
)
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet._role import FleetRole, SharedRole
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.values.runner_class import CAPACITY_PROVIDERS

CONTAINER_NAME = "runner"
"""The one container of a runner's task; the state machine's overrides name it too."""

FLEET_TAG = "runner-fleet:fleet"
"""The tag that says whose a task is. Class and repository, ``runner-fleet:class`` and
``runner-fleet:repository``, are given by the state machine, which knows them: no tag stands on a
task definition and on a launch, because it is not documented which would hold."""

_NOT_KNOWN_YET = (
    "Each image has a task definition family of its own under the fleet's prefix, and each runner "
    "a task of its own in the fleet's cluster; neither is known at deployment."
)
_STOP_TIMEOUT = Duration.seconds(120)  # the most Fargate gives, and what a Spot interruption leaves


@jsii.implements(iam.IGrantable)
class RunnerCluster(Construct):
    """An ECS cluster for Fargate tasks and the task definition that every runner is made from.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        images: What the runners are made from. There is a base task definition for each
            architecture of a ready image, and else one that those of built images are cloned from.
        at_rest: How the tasks' disks and logs are encrypted.
        architectures: Processor architectures of the runners.
        cluster: The cluster, if there is one already. Default: one is made.

    Raises:
        ValueError: if no task of the fleet could run in that cluster, or have its disk encrypted.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        images: ImagePipeline,
        at_rest: DataAtRest,
        architectures: Sequence[str] = ("X86_64",),
        cluster: ecs.ICluster | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.capacity_providers: IDependable | None = None
        """What has to be there before a task is launched, where it is the fleet's own."""
        if cluster is None:
            made = self._make(at_rest)
            self.cluster_arn, self.cluster_name = made.attr_arn, made.ref
        else:
            _check_cluster(self, cluster)
            self.cluster_arn, self.cluster_name = cluster.cluster_arn, cluster.cluster_name
        self.log_group = at_rest.log_group(self, "Logs")
        self.execution_role = FleetRole(self, "ExecutionRole", service="ecs-tasks.amazonaws.com")
        self.log_group.grant_write(self.execution_role)
        self.task_role = SharedRole(
            self,
            "TaskRole",
            description="cdk-runner-fleet: a runner's task shows by it who it is",
            assumed_by=self.task_principal,
        )
        """Whose session each runner's task is, named after the task."""
        self._jobs_hold_role = False
        self._definitions: list[tuple[ecs.CfnTaskDefinition, str]] = []
        images.grant_pull(self.execution_role)
        self.family = Names.unique_resource_name(self, max_length=64, separator="-")
        """Family of the base task definition; those made for images are named after it."""
        self._images = images
        self.ready_definitions = {
            name: {
                one: self._task_definition(one, uri=image.uri, of=name)
                for one in images.images.architectures[name] or architectures[:1]
            }
            for name, image in images.images.ready.items()
        }
        """The definitions of each ready image, by its name and by architecture."""
        default = images.images.default_name
        self.base_definition = (
            next(iter(self.ready_definitions[default].values()))
            if default in self.ready_definitions
            else self._task_definition(architectures[0], uri=images.task_image, of=default)
        )
        """What those of built images are made from."""

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The task role, which jobs hold from the first grant on, and never without one."""
        if not self._jobs_hold_role:
            self._jobs_hold_role = True
            for definition, uri in self._definitions:
                definition.container_definitions = [self._container(uri)]
        return self.task_role

    @property
    def task_principal(self) -> iam.IPrincipal:
        """Who alone may assume the role of a task."""
        # "Task IAM role", Amazon ECS developer guide: the cluster cannot be named as the source
        return iam.ServicePrincipal(
            "ecs-tasks.amazonaws.com",
            conditions={
                "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                "ArnLike": {"aws:SourceArn": self._ecs_arn("*")},
            },
        )

    @property
    def task_definition_arn(self) -> str:
        """ARN, with its revision, of the definition that those of built images are made from."""
        return self.base_definition.ref

    def ready_families(self, image: str) -> dict[str, str]:
        """Families of a ready image's definitions, by architecture: a launch takes the newest.

        Who is in line has there what he is to be launched from, and a deployment of another image
        deregisters the revision of before.

        Args:
            image: The image's name.
        """
        # out of the ARN, so that who launches them is deployed when they are there:
        # arn:<partition>:ecs:<region>:<account>:task-definition/<family>:<revision>
        return {
            architecture: Fn.select(1, Fn.split("/", Fn.select(5, Fn.split(":", one.ref))))
            for architecture, one in self.ready_definitions.get(image, {}).items()
        }

    @property
    def task_family(self) -> str:
        """Prefix of the families made from this revision: a change of the base makes new ones."""
        # the ARN's seventh field: …:task-definition/<family>:<revision>
        revision = Fn.select(6, Fn.split(":", self.task_definition_arn))
        return f"{self.family}-{revision}"

    @property
    def image_families_arn(self) -> str:
        """ARN pattern of the families that are made for images.

        With a revision or without one: which of them ECS asks IAM for while a family has none is
        nowhere documented.
        """
        return self._ecs_arn("task-definition", f"{self.family}-*")

    @property
    def launchable_arns(self) -> list[str]:
        """ARN patterns of what a runner can be launched from."""
        return [self._ecs_arn("task-definition", f"{self.family}:*"), self.image_families_arn]

    @property
    def tasks_arn(self) -> str:
        """ARN pattern of the cluster's tasks."""
        return self._ecs_arn("task", f"{self.cluster_name}/*")

    def grant_run(self, role: iam.IRole) -> None:
        """Let ``role`` start and stop runners in this cluster."""
        _allow(role, "ecs:RunTask", resources=self.launchable_arns, cluster_arn=self.cluster_arn)
        self._grant_stop(role)
        self._grant_tag(role, [self.tasks_arn], by="RunTask")
        for arn in (*self.launchable_arns, self.tasks_arn):
            acknowledge_pattern(role, arn, reason=_NOT_KNOWN_YET)
        self._grant_pass_roles(role)

    def grant_sweep(self, role: iam.IRole) -> None:
        """Let ``role`` find this cluster's tasks and stop them."""
        _allow(role, "ecs:ListTasks", resources=["*"], cluster_arn=self.cluster_arn)
        acknowledge_any_resource(
            role,
            actions="ecs:ListTasks without a container instance, which Fargate does not have; the "
            "cluster is a condition of it",
        )
        # no condition on the tag: one task of somebody else in a request has all of it refused
        _allow(role, "ecs:DescribeTasks", resources=[self.tasks_arn], cluster_arn=self.cluster_arn)
        self._grant_stop(role)
        acknowledge_pattern(role, self.tasks_arn, reason=_NOT_KNOWN_YET)

    def grant_define(self, role: iam.IRole) -> None:
        """Let ``role`` make a family for a new image, and take back what a dead one has.

        And any other of the account's: nothing narrower is there, so whoever has it sees to that.
        """
        # The reference names task definitions for it, yet what ECS refuses it refuses on `*` (every
        # denial that is quoted in public, the last of 2026-02): a family's ARN would never match.
        # The tags that go with it are asked for beside it, on nobody knows what.
        # A request without the key, which is a list, meets ForAllValues too.
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["ecs:RegisterTaskDefinition"],
                resources=["*"],
                conditions={
                    "ForAllValues:StringEquals": {"ecs:compute-compatibility": ["FARGATE"]}
                },
            )
        )
        self._grant_tag(role, ["*"], by="RegisterTaskDefinition")
        unscoped = (
            "ecs:DescribeTaskDefinition",
            "ecs:DeregisterTaskDefinition",
            "ecs:ListTaskDefinitions",
        )
        _allow(role, *unscoped, resources=["*"])
        registering = ("ecs:RegisterTaskDefinition", "ecs:TagResource while it registers")
        acknowledge_any_resource(role, actions=", ".join((*registering, *unscoped)))
        self._grant_pass_roles(role)

    @staticmethod
    def _grant_tag(role: iam.IRole, resources: Sequence[str], *, by: str) -> None:
        """Let ``role`` give tags to what it makes, while it makes it; ECS asks for that beside."""
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["ecs:TagResource"],
                resources=list(resources),
                conditions={"StringEquals": {"ecs:CreateAction": by}},
            )
        )

    def _grant_stop(self, role: iam.IRole) -> None:
        """Let ``role`` stop tasks of the cluster, but none that is known as another fleet's."""
        # IfExists: a task that is stopped loses its tags (ECS API reference, StopTask), and most
        # have gone by themselves when they are asked to; that must be no denial
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["ecs:StopTask"],
                resources=[self.tasks_arn],
                conditions={
                    "ArnEquals": {"ecs:cluster": self.cluster_arn},
                    "StringEqualsIfExists": {f"aws:ResourceTag/{FLEET_TAG}": fleet_name(self)},
                },
            )
        )

    def _grant_pass_roles(self, launcher: iam.IRole) -> None:
        for role in (self.execution_role, self.task_role):
            grant_pass_role(launcher, role)

    def _ecs_arn(self, resource: str, name: str | None = None) -> str:
        return Stack.of(self).format_arn(
            service="ecs",
            resource=resource,
            resource_name=name,
            arn_format=ArnFormat.SLASH_RESOURCE_NAME,
        )

    def _make(self, at_rest: DataAtRest) -> ecs.CfnCluster:
        cluster = ecs.CfnCluster(self, "Cluster")
        _encrypt_disks(cluster, at_rest)
        # not in the cluster itself: an account's first one makes the service-linked role of ECS,
        # which the providers need at once (cloudformation-coverage-roadmap#818)
        self.capacity_providers = ecs.CfnClusterCapacityProviderAssociations(
            self,
            "CapacityProviders",
            cluster=cluster.ref,
            capacity_providers=list(CAPACITY_PROVIDERS),
            default_capacity_provider_strategy=[],
        )
        acknowledge(
            cluster,
            "ECS4",
            reason="Container Insights is billed by task and would cost more than short jobs do; "
            "each runner's times and cost stand on its row.",
        )
        return cluster

    def _task_definition(self, architecture: str, *, uri: str, of: str) -> ecs.CfnTaskDefinition:
        construct_id, family = {
            "X86_64": ("TaskDefinition", self.family),
            "ARM64": ("Arm64TaskDefinition", f"{self.family}-arm64"),
        }[architecture]
        images = self._images.images
        if of != images.default_name:
            # by a class, whose name is known and stays; no dot may be in a family
            class_name = images.first_class(of)
            construct_id += f"-{class_name}"
            family += f"-class-{hashlib.sha256(class_name.encode()).hexdigest()[:8]}"
        definition = ecs.CfnTaskDefinition(
            self,
            construct_id,
            family=family,
            cpu="512",
            memory="1024",
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            execution_role_arn=self.execution_role.role_arn,
            task_role_arn=self.task_role.role_arn,
            tags=[CfnTag(key=FLEET_TAG, value=fleet_name(self))],
            runtime_platform=ecs.CfnTaskDefinition.RuntimePlatformProperty(
                cpu_architecture=architecture, operating_system_family="LINUX"
            ),
            container_definitions=[self._container(uri)],
        )
        self._definitions.append((definition, uri))
        acknowledge(
            definition,
            "ECS2",
            reason="The one variable says whether jobs hold the task's role.",
        )
        return definition

    def _container(self, uri: str) -> ecs.CfnTaskDefinition.ContainerDefinitionProperty:
        variables = {"JOBS_HOLD_TASK_ROLE": "on"} if self._jobs_hold_role else {}
        return ecs.CfnTaskDefinition.ContainerDefinitionProperty(
            name=CONTAINER_NAME,
            image=uri,
            essential=True,
            environment=[
                ecs.CfnTaskDefinition.KeyValuePairProperty(name=name, value=value)
                for name, value in variables.items()
            ]
            or None,
            stop_timeout=int(_STOP_TIMEOUT.to_seconds()),
            log_configuration=ecs.CfnTaskDefinition.LogConfigurationProperty(
                log_driver="awslogs",
                options={
                    "awslogs-group": self.log_group.log_group_name,
                    "awslogs-region": Aws.REGION,
                    "awslogs-stream-prefix": CONTAINER_NAME,
                },
            ),
        )


def vpc_of(
    cluster: ecs.ICluster | None, vpc_subnets: ec2.SubnetSelection | None
) -> ec2.IVpc | None:
    """Return the VPC of a cluster that is given, unless there is no need of one.

    Raises:
        ValueError: if the cluster does not say which it is.
    """
    if cluster is None or (vpc_subnets and vpc_subnets.subnets):
        return None
    try:
        return cluster.vpc
    except RuntimeError as error:
        raise ValueError(
            f"cluster {cluster.node.path} is imported without a vpc, and none is given: name the "
            "vpc of the runners, or their subnets and security_groups"
        ) from error


def _check_cluster(scope: Construct, cluster: ecs.ICluster) -> None:
    """Refuse a cluster that no task of the fleet could run in; see to its capacity providers."""
    stack, path = Stack.of(scope), cluster.node.path
    for what, theirs, ours in (
        ("account", cluster.env.account, stack.account),
        ("region", cluster.env.region, stack.region),
    ):
        if Token.is_unresolved(theirs) or Token.is_unresolved(ours) or theirs == ours:
            continue
        raise ValueError(
            f"cluster {path} is in {what} {theirs} and the fleet in {ours}, and tasks are launched "
            "where their cluster is: give a cluster of the fleet's own account and region"
        )
    if isinstance(cluster, ecs.Cluster):
        cluster.enable_fargate_capacity_providers()
    else:
        Annotations.of(scope).add_warning_v2(
            "cdk-runner-fleet:importedCluster",
            f"cluster {path} is imported, and whether it has the capacity providers "
            f"{' and '.join(CAPACITY_PROVIDERS)} is not known here: without them no runner starts. "
            "Acknowledge this warning if `aws ecs describe-clusters` lists them",
        )


def _encrypt_disks(cluster: ecs.CfnCluster, at_rest: DataAtRest) -> None:
    key = at_rest.encryption_key
    if key is None:
        return
    if is_multi_region(key):
        raise ValueError(
            f"encryption_key {key.node.path} is a multi-Region key, and Fargate encrypts no task's "
            "disk with one: give a key of this region alone"
        )
    cluster.configuration = ecs.CfnCluster.ClusterConfigurationProperty(
        managed_storage_configuration=ecs.CfnCluster.ManagedStorageConfigurationProperty(
            fargate_ephemeral_storage_kms_key_id=key.key_arn
        )
    )
    # "Create an encryption key for Fargate ephemeral storage", Amazon ECS developer guide
    account = {"kms:EncryptionContext:aws:ecs:clusterAccount": [Stack.of(cluster).account]}
    at_rest.allow_service(
        "fargate.amazonaws.com",
        "kms:GenerateDataKeyWithoutPlaintext",
        conditions={"StringEquals": account},
    )
    at_rest.allow_service(
        "fargate.amazonaws.com",
        "kms:CreateGrant",
        conditions={
            "StringEquals": account,
            "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]},
        },
    )


def _allow(
    role: iam.IRole, *actions: str, resources: Sequence[str], cluster_arn: str | None = None
) -> None:
    role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=list(actions),
            resources=list(resources),
            conditions={"ArnEquals": {"ecs:cluster": cluster_arn}} if cluster_arn else None,
        )
    )


def grant_pass_role(launcher: iam.IRole, role: iam.IRole) -> None:
    """Let ``launcher`` start tasks with ``role``."""
    launcher.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["iam:PassRole"],
            resources=[role.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        )
    )

"""Where runners run: the cluster, the task they are made from, and their logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jsii
from aws_cdk import Annotations, ArnFormat, Aws, Fn, Names, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct, IDependable

from cdk_runner_fleet._at_rest import DataAtRest, is_multi_region
from cdk_runner_fleet._nag import (
    acknowledge,
    acknowledge_any_resource,
    acknowledge_own_policy,
    acknowledge_pattern,
)
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet._place import check_place
from cdk_runner_fleet._role import FleetRole, SharedRole, can_change
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.rooms.task_definitions import FLEET_TAG, TaskDefinitions, digest_of
from cdk_runner_fleet.values.mounts import EfsMount
from cdk_runner_fleet.values.runner_class import CAPACITY_PROVIDERS

_NOT_KNOWN_YET = (
    "Each image has a task definition family of its own under the fleet's prefix, and each runner "
    "a task of its own in the fleet's cluster; neither is known at deployment."
)
_MOST_MOUNTED = 10
"""Of each image a family is made for all of them, and its name has a part for each of them."""


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
        execution_role: The role that pulls the images and writes the tasks' logs, if there is one
            already. Default: one is made.
        mounts: What runners of a class have mounted, by the class's name: a launch cannot say so,
            and those have definitions of their own.

    Raises:
        ValueError: if no task of the fleet could run in that cluster, have its disk encrypted or be
            started with that role, or if classes differ too much in what they mount.
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
        execution_role: iam.IRole | None = None,
        mounts: Mapping[str, Sequence[EfsMount]] | None = None,
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
        self.execution_role: iam.IRole = execution_role or FleetRole(
            self, "ExecutionRole", service="ecs-tasks.amazonaws.com"
        )
        if execution_role is None:
            self._let_start(self.execution_role, images)
        elif _is_ours_to_change(self, execution_role):
            # with a policy of the fleet's own stack, which the role's must not need
            role = iam.Role.from_role_name(
                self, "ExecutionRole", execution_role.role_name, default_policy_name="Start"
            )
            self._let_start(role, images)
            # by a name that no other fleet has: one that came later would write over it
            policy = role.node.find_child("Start").node.default_child
            assert isinstance(policy, iam.CfnPolicy)  # noqa: S101 - narrows the type
            policy.policy_name = fleet_name(self)
            acknowledge_own_policy(role)
        self.task_role = SharedRole(
            self,
            "TaskRole",
            description="cdk-runner-fleet: a runner's task shows by it who it is",
            assumed_by=self.task_principal,
        )
        """Whose session each runner's task is, named after the task."""
        self._jobs_hold_role = False
        self.family = Names.unique_resource_name(self, max_length=64, separator="-")
        """Family of the base task definition; those made for images are named after it."""
        self._images, self._architectures = images, architectures
        self._definitions = self._define(self)
        self._suffixes: dict[str, str] = {}
        self.mounted = self._define_mounted(mounts or {})
        """The definitions with mounts, by what stands behind the names of their families."""

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The task role, which jobs hold from the first grant on, and never without one."""
        if not self._jobs_hold_role:
            self._jobs_hold_role = True
            for each in (self._definitions, *self.mounted.values()):
                each.have_jobs_hold_role()
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
        return self._definitions.base.ref

    @property
    def mounted_task_definition_arns(self) -> dict[str, str]:
        """The like with mounts, by what stands behind the names of the families made from them."""
        return {suffix: each.base.ref for suffix, each in self.mounted.items()}

    def family_suffix(self, class_name: str) -> str:
        """What stands behind the name of any family that runners of a class are launched by."""
        return self._suffixes.get(class_name, "")

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
            for architecture, one in self._definitions.ready.get(image, {}).items()
        }

    @property
    def task_family(self) -> str:
        """Prefix of the families made from these revisions: a change of a base makes new ones."""
        bases = (self._definitions, *self.mounted.values())
        return "-".join([self.family, *(each.revision for each in bases)])

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

    def _let_start(self, role: iam.IRole, images: ImagePipeline) -> None:
        """Let ``role`` do what ECS does before and beside a task."""
        self.log_group.grant_write(role)
        images.grant_pull(role)

    def _grant_pass_roles(self, launcher: iam.IRole) -> None:
        for role in (self.execution_role, self.task_role):
            grant_pass_role(launcher, role)

    def _define(
        self, scope: Construct, *, suffix: str = "", mounts: Sequence[EfsMount] = ()
    ) -> TaskDefinitions:
        return TaskDefinitions(
            scope,
            family=self.family,
            suffix=suffix,
            images=self._images,
            architectures=self._architectures,
            execution_role=self.execution_role,
            task_role=self.task_role,
            log_group=self.log_group,
            mounts=mounts,
        )

    def _define_mounted(
        self, mounts: Mapping[str, Sequence[EfsMount]]
    ) -> dict[str, TaskDefinitions]:
        """The definitions of classes with mounts; those with the same have the same."""
        known: dict[str, Sequence[EfsMount]] = {}
        for class_name, wanted in mounts.items():
            first = next((name for name, one in known.items() if one == wanted), class_name)
            known[first] = wanted
            self._suffixes[class_name] = f"-mounts-{digest_of(first)}"
        if len(known) > _MOST_MOUNTED:
            raise ValueError(
                f"classes have {len(known)} different mounts, and {_MOST_MOUNTED} are the most: "
                "give the same to more of them"
            )
        return {
            self._suffixes[first]: self._define(
                Construct(self, f"Mounts-{first}"), suffix=self._suffixes[first], mounts=one
            )
            for first, one in known.items()
        }

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
    path = cluster.node.path
    check_place(
        scope,
        f"cluster {path}",
        cluster,
        arn=cluster.cluster_arn,
        why="tasks are launched where their cluster is",
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


def _is_ours_to_change(scope: Construct, role: iam.IRole) -> bool:
    """Whether an execution role that is given can be granted what it needs; says so if not.

    Raises:
        ValueError: if no task could have it.
    """
    check_place(
        scope,
        f"execution_role {role.node.path}",
        role,
        region=False,
        why="ECS passes no role of another account to a task",
    )
    if not can_change(role):
        Annotations.of(scope).add_warning_v2(
            "cdk-runner-fleet:unchangedExecutionRole",
            f"execution_role {role.node.path} is imported with mutable=False, and nothing is added "
            "to it: without logs:CreateLogStream and logs:PutLogEvents on the fleet's log group, "
            "ecr:GetAuthorizationToken, and ecr:BatchCheckLayerAvailability, "
            "ecr:GetDownloadUrlForLayer and ecr:BatchGetImage on the repository of its images no "
            "runner starts. Acknowledge this warning once it may",
        )
        return False
    return True


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

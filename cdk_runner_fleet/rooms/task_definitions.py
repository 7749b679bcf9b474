"""The task definitions that a deployment makes: of ready images, and what others are made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from aws_cdk import Aws, CfnTag, Duration, Fn
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk_runner_fleet._nag import acknowledge
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.values.mounts import EfsMount

CONTAINER_NAME = "runner"
"""The one container of a runner's task; the state machine's overrides name it too."""

FLEET_TAG = "runner-fleet:fleet"
"""The tag that says whose a task is. Class and repository, ``runner-fleet:class`` and
``runner-fleet:repository``, are given by the state machine, which knows them: no tag stands on a
task definition and on a launch, because it is not documented which would hold."""

_STOP_TIMEOUT = Duration.seconds(120)  # the most Fargate gives, and what a Spot interruption leaves


class TaskDefinitions:
    """What runners with the same mounts are launched from: a base, and one of each ready image.

    Args:
        scope: The construct that they are in.
        family: What their families are called.
        suffix: What stands behind that, and behind the family of every image.
        images: What the runners are made from.
        architectures: Processor architectures of the runners.
        execution_role: What pulls the images and writes the logs.
        task_role: Whose session each task is.
        log_group: Where its output goes.
        mounts: What its runners have mounted.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        family: str,
        suffix: str = "",
        images: ImagePipeline,
        architectures: Sequence[str],
        execution_role: iam.IRole,
        task_role: iam.IRole,
        log_group: logs.ILogGroup,
        mounts: Sequence[EfsMount] = (),
    ) -> None:
        self.scope = scope
        self._family, self._suffix = family, suffix
        self._images = images.images
        self._execution_role, self._task_role = execution_role, task_role
        self._log_group = log_group
        self._mounts = mounts
        self._made: list[tuple[ecs.CfnTaskDefinition, str]] = []
        self.ready = {
            name: {
                one: self._task_definition(one, uri=image.uri, of=name)
                for one in self._images.architectures[name] or architectures[:1]
            }
            for name, image in self._images.ready.items()
        }
        """The definitions of each ready image, by its name and by architecture."""
        default = self._images.default_name
        self.base = (
            next(iter(self.ready[default].values()))
            if default in self.ready
            else self._task_definition(architectures[0], uri=images.task_image, of=default)
        )
        """What those of built images are made from."""

    @property
    def revision(self) -> str:
        """The revision of the base."""
        # the ARN's seventh field: …:task-definition/<family>:<revision>
        return Fn.select(6, Fn.split(":", self.base.ref))

    def have_jobs_hold_role(self) -> None:
        """Let jobs come by the credentials of the task's role."""
        for definition, uri in self._made:
            definition.container_definitions = [self._container(uri, jobs_hold_role=True)]

    def _task_definition(self, architecture: str, *, uri: str, of: str) -> ecs.CfnTaskDefinition:
        construct_id, family = {
            "X86_64": ("TaskDefinition", self._family),
            "ARM64": ("Arm64TaskDefinition", f"{self._family}-arm64"),
        }[architecture]
        if of != self._images.default_name:
            # by a class, whose name is known and stays; no dot may be in a family
            class_name = self._images.first_class(of)
            construct_id += f"-{class_name}"
            family += f"-class-{digest_of(class_name)}"
        definition = ecs.CfnTaskDefinition(
            self.scope,
            construct_id,
            family=f"{family}{self._suffix}",
            cpu="512",
            memory="1024",
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            execution_role_arn=self._execution_role.role_arn,
            task_role_arn=self._task_role.role_arn,
            tags=[CfnTag(key=FLEET_TAG, value=fleet_name(self.scope))],
            runtime_platform=ecs.CfnTaskDefinition.RuntimePlatformProperty(
                cpu_architecture=architecture, operating_system_family="LINUX"
            ),
            container_definitions=[self._container(uri, jobs_hold_role=False)],
            volumes=[_volume(number, mount) for number, mount in enumerate(self._mounts)] or None,
        )
        self._made.append((definition, uri))
        acknowledge(
            definition,
            "ECS2",
            reason="The one variable says whether jobs hold the task's role.",
        )
        return definition

    def _container(
        self, uri: str, *, jobs_hold_role: bool
    ) -> ecs.CfnTaskDefinition.ContainerDefinitionProperty:
        variables = {"JOBS_HOLD_TASK_ROLE": "on"} if jobs_hold_role else {}
        return ecs.CfnTaskDefinition.ContainerDefinitionProperty(
            name=CONTAINER_NAME,
            image=uri,
            essential=True,
            environment=[
                ecs.CfnTaskDefinition.KeyValuePairProperty(name=name, value=value)
                for name, value in variables.items()
            ]
            or None,
            mount_points=[
                ecs.CfnTaskDefinition.MountPointProperty(
                    source_volume=_volume_name(number),
                    container_path=mount.path,
                    read_only=mount.read_only,
                )
                for number, mount in enumerate(self._mounts)
            ]
            or None,
            stop_timeout=int(_STOP_TIMEOUT.to_seconds()),
            log_configuration=ecs.CfnTaskDefinition.LogConfigurationProperty(
                log_driver="awslogs",
                options={
                    "awslogs-group": self._log_group.log_group_name,
                    "awslogs-region": Aws.REGION,
                    "awslogs-stream-prefix": CONTAINER_NAME,
                },
            ),
        )


def digest_of(class_name: str) -> str:
    """What a class is called in the name of a family, where no dot may be."""
    return hashlib.sha256(class_name.encode()).hexdigest()[:8]


def _volume(number: int, mount: EfsMount) -> ecs.CfnTaskDefinition.VolumeProperty:
    point = mount.access_point
    return ecs.CfnTaskDefinition.VolumeProperty(
        name=_volume_name(number),
        efs_volume_configuration=ecs.CfnTaskDefinition.EFSVolumeConfigurationProperty(
            filesystem_id=mount.file_system.file_system_id,
            transit_encryption="ENABLED",
            authorization_config=ecs.CfnTaskDefinition.AuthorizationConfigProperty(
                iam="ENABLED", access_point_id=point.access_point_id if point else None
            ),
        ),
    )


def _volume_name(number: int) -> str:
    return f"efs-{number}"

"""What runners of a class have that others have not: a role, a place in the network, variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsii
from aws_cdk import Annotations, PhysicalName, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_runner_fleet._nag import acknowledge_own_policy
from cdk_runner_fleet._place import check_place
from cdk_runner_fleet._role import can_change
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.rooms.network import RunnerNetwork
from cdk_runner_fleet.rooms.registration import RunnerRegistration
from cdk_runner_fleet.values.mounts import EfsMount
from cdk_runner_fleet.values.runner_class import RunnerClass

_ECS_TASKS = "ecs-tasks.amazonaws.com"
_ACCESS_POINT_KEY = "elasticfilesystem:AccessPointArn"


@jsii.implements(ec2.IConnectable, iam.IGrantable)
class ClassRunners(Construct):
    """The runners of one class, which can be granted something and be let in somewhere.

    Their role and their security group appear when they are first asked for. Both come on top:
    such a runner may all that each runner of the fleet may, and is in the fleet's groups as well.

    Args:
        scope: The construct's parent.
        construct_id: The class's name.
        runner_class: The class.
        network: Where they are, unless the class says otherwise.
        cluster: Whose role they have, unless they have their own.
        registration: Who has to know by which role they show who they are.
        lifecycle: Who launches them.

    Raises:
        ValueError: if no runner could start in the class's subnets, by its role or with its mounts,
            or it has a runner group that GitHub cannot have.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        runner_class: RunnerClass,
        network: RunnerNetwork,
        cluster: RunnerCluster,
        registration: RunnerRegistration,
        lifecycle: RunnerLifecycle,
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = construct_id
        self._network = network
        self._cluster = cluster
        self._registration = registration
        self._lifecycle = lifecycle
        self._role: iam.IRole | None = None
        self._connections: ec2.Connections | None = None
        self._jobs_hold_role = False
        self._environment = dict(runner_class.environment or {})
        self._settings: dict[str, Any] = {}
        if runner_class.runner_group is not None:
            registration.join(runner_class.runner_group, class_name=construct_id)
        if runner_class.tags:
            self._set(tags=[{"Key": key, "Value": text} for key, text in runner_class.tags.items()])
        if runner_class.vpc_subnets is not None:
            self._set(subnets=",".join(network.select(runner_class.vpc_subnets)))
        if self._environment:
            self._set_environment()
        if runner_class.task_role is not None:
            self._bring(runner_class.task_role)
        for mount in runner_class.mounts or ():
            self._mount(mount)
        if suffix := cluster.family_suffix(construct_id):
            self._set(family_suffix=suffix)

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The role of this class's tasks, whose AWS credentials its jobs hold.

        Made when it is first asked for, unless the class brought one. Every job that GitHub may
        give a runner of this class holds it: see ``runner_group`` of ``RunnerClass``.
        """
        role = self._task_role
        if not self._jobs_hold_role:
            self._have_jobs_hold_role()
        return role.grant_principal

    @property
    def connections(self) -> ec2.Connections:
        """Connections of these runners alone, in a security group of their own.

        Made when it is first asked for.
        """
        if self._connections is None:
            group = self._network.another_security_group(self, "SecurityGroup")
            groups = [*self._network.security_groups, group]
            self._set(security_groups=",".join(each.security_group_id for each in groups))
            self._connections = ec2.Connections(security_groups=[group])
        return self._connections

    @property
    def _task_role(self) -> iam.IRole:
        """The role of this class's tasks, made if there is none."""
        if self._role is None:
            role = iam.Role(
                self,
                "TaskRole",
                description=f"cdk-runner-fleet: tasks of class {self._name}, and jobs if it is "
                "granted anything",
                assumed_by=self._cluster.task_principal,
                role_name=PhysicalName.GENERATE_IF_NEEDED,  # another account's policy names it
            )
            acknowledge_own_policy(role)
            self._cluster.task_role.share_with(role)
            self._give(role)
            return role
        return self._role

    def _bring(self, role: iam.IRole) -> None:
        """Have tasks be of a role that was there before, which jobs hold for what it may."""
        check_place(
            self,
            f"task_role of class {self._name}",
            role,
            region=False,
            why="ECS gives no task a role of another account",
        )
        if isinstance(role, iam.Role) and _ECS_TASKS not in str(
            Stack.of(role).resolve(role.assume_role_policy)
        ):
            raise ValueError(
                f"task_role {role.node.path} of class {self._name} cannot be assumed by "
                f"{_ECS_TASKS}, and ECS gives a task no other: make it with "
                f'assumed_by=iam.ServicePrincipal("{_ECS_TASKS}")'
            )
        if can_change(role):
            self._cluster.task_role.share_with(role)
        else:
            Annotations.of(self).add_warning_v2(
                "cdk-runner-fleet:unchangedTaskRole",
                f"task_role {role.node.path} of class {self._name} is imported with mutable=False, "
                "and nothing is added to it. Let it call execute-api:Invoke on the fleet's API "
                "(POST/runners/*/claim), or no runner of the class gets its registration; "
                "elasticfilesystem:ClientMount and ClientWrite on what the class mounts; and what "
                "the fleet is granted, if its jobs need that. Then acknowledge this warning",
            )
        self._give(role)
        self._have_jobs_hold_role()

    def _give(self, role: iam.IRole) -> None:
        self._role = role
        self._registration.let_claim(role, class_name=self._name)
        self._lifecycle.pass_role(role)
        self._set(overrides={"TaskRoleArn": role.role_arn})

    def _have_jobs_hold_role(self) -> None:
        self._jobs_hold_role = True
        self._environment["JOBS_HOLD_TASK_ROLE"] = "on"
        self._set_environment()

    def _mount(self, mount: EfsMount) -> None:
        file_system, point = mount.file_system, mount.access_point
        check_place(
            self,
            f"file_system {file_system.node.path} of class {self._name}",
            file_system,
            arn=file_system.file_system_arn,
            why="no task of ECS mounts one of another place",
        )
        self._task_role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=[
                    "elasticfilesystem:ClientMount",
                    *([] if mount.read_only else ["elasticfilesystem:ClientWrite"]),
                ],
                resources=[file_system.file_system_arn],
                conditions={
                    "Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"},
                    **(
                        {"StringEquals": {_ACCESS_POINT_KEY: point.access_point_arn}}
                        if point
                        else {}
                    ),
                },
            )
        )
        # from here, so that the rule is in this stack, which knows of the file system's
        self.connections.allow_to_default_port(file_system)
        self._lifecycle.launch_after(file_system.mount_targets_available)

    def _set_environment(self) -> None:
        variables = [{"Name": name, "Value": text} for name, text in self._environment.items()]
        self._set(environment=variables)

    def _set(self, **settings: object) -> None:
        self._settings |= settings
        self._lifecycle.launch_with(self._settings, class_name=self._name)


class RunnerClasses(Construct):
    """The runners of each class that has something of its own.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        classes: The classes by name.
        network: Where their runners are, unless the class says otherwise.
        cluster: Whose role they have, unless they have their own.
        registration: Who has to know by which role they show who they are.
        lifecycle: Who launches them.

    Raises:
        ValueError: see ``ClassRunners``.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        classes: Mapping[str, RunnerClass],
        network: RunnerNetwork,
        cluster: RunnerCluster,
        registration: RunnerRegistration,
        lifecycle: RunnerLifecycle,
    ) -> None:
        super().__init__(scope, construct_id)
        self._classes = classes
        self._network = network
        self._cluster = cluster
        self._registration = registration
        self._lifecycle = lifecycle
        self._made: dict[str, ClassRunners] = {}
        for name, runner_class in classes.items():
            if runner_class.is_by_deployment:
                self.of(name)

    def of(self, name: str) -> ClassRunners:
        """The runners of the class of this name.

        Raises:
            ValueError: if there is none.
        """
        if name not in self._classes:
            raise ValueError(
                f"class {name!r} is none of the fleet's, which are {', '.join(self._classes)}: "
                "name one of them, or add it to the classes"
            )
        if name not in self._made:
            self._made[name] = ClassRunners(
                self,
                name,
                runner_class=self._classes[name],
                network=self._network,
                cluster=self._cluster,
                registration=self._registration,
                lifecycle=self._lifecycle,
            )
        return self._made[name]

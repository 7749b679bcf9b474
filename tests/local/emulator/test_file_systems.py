"""What a task has mounted: as whom, by which mount target, and who shares it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from .harness import Emulator
from .test_tasks import READY_IMAGE, Ecs


@dataclass
class Shared:
    """A file system with an access point and a mount target in one of two subnets' zones."""

    ecs: Ecs
    emulator: Emulator
    file_system: str
    arn: str
    point: str
    point_arn: str
    subnet: str
    other_subnet: str

    def run(self, script: str, *, may: list[dict[str, Any]], subnet: str = "") -> dict[str, Any]:
        """A task with the file system; returns it once it has ended."""
        family = f"family-{uuid.uuid4().hex[:8]}"
        self.ecs.api.register_task_definition(
            family=family,
            taskRoleArn=self.emulator.role(may, service="ecs-tasks"),
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            volumes=[
                {
                    "name": "efs-0",
                    "efsVolumeConfiguration": {
                        "fileSystemId": self.file_system,
                        "transitEncryption": "ENABLED",
                        "authorizationConfig": {"iam": "ENABLED", "accessPointId": self.point},
                    },
                }
            ],
            containerDefinitions=[
                {
                    "name": "runner",
                    "image": READY_IMAGE,
                    "mountPoints": [{"sourceVolume": "efs-0", "containerPath": "/mnt/cache"}],
                }
            ],
        )
        where = {"awsvpcConfiguration": {"subnets": [subnet or self.subnet]}}
        answer = self.ecs.run(script, family=family, networkConfiguration=where)
        return self.ecs.stopped(answer["tasks"][0]["taskArn"])

    def mounting(self, *, point_arn: str = "") -> list[dict[str, Any]]:
        """What a role may: to mount it, by this access point alone."""
        return [
            {
                "Effect": "Allow",
                "Action": "elasticfilesystem:ClientMount",
                "Resource": self.arn,
                "Condition": {
                    "Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"},
                    "StringEquals": {
                        "elasticfilesystem:AccessPointArn": point_arn or self.point_arn
                    },
                },
            }
        ]


@pytest.fixture
def shared(emulator: Emulator) -> Shared:
    ec2, efs = emulator.client("ec2"), emulator.client("efs")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"us-east-1{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    made = efs.create_file_system(CreationToken=uuid.uuid4().hex)
    point = efs.create_access_point(
        ClientToken=uuid.uuid4().hex,
        FileSystemId=made["FileSystemId"],
        RootDirectory={"Path": "/jobs"},
    )
    efs.create_mount_target(FileSystemId=made["FileSystemId"], SubnetId=subnets[0])
    return Shared(
        ecs=Ecs(emulator),
        emulator=emulator,
        file_system=made["FileSystemId"],
        arn=made["FileSystemArn"],
        point=point["AccessPointId"],
        point_arn=point["AccessPointArn"],
        subnet=subnets[0],
        other_subnet=subnets[1],
    )


def exit_code(task: dict[str, Any]) -> int:
    code: int = task["containers"][0]["exitCode"]
    return code


def test_a_task_finds_what_another_one_left(shared: Shared) -> None:
    may = shared.mounting()
    look = 'test "$(cat "$RUNNER_HOME/mnt/cache/it")" = left'
    assert exit_code(shared.run(look, may=may)) == 1
    assert exit_code(shared.run('echo left > "$RUNNER_HOME/mnt/cache/it"', may=may)) == 0
    assert exit_code(shared.run(look, may=may)) == 0


def test_a_role_that_may_not_mount_it_by_this_access_point_starts_no_task(shared: Shared) -> None:
    for may in (
        [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
        shared.mounting(point_arn=f"{shared.point_arn}0"),
    ):
        task = shared.run("exit 0", may=may)
        assert task["stopCode"] == "TaskFailedToStart"
        assert "access denied by server while mounting" in task["stoppedReason"]


def test_a_zone_without_a_mount_target_starts_no_task(shared: Shared) -> None:
    task = shared.run("exit 0", may=shared.mounting(), subnet=shared.other_subnet)
    assert task["stopCode"] == "TaskFailedToStart"
    assert f'Failed to resolve "{shared.file_system}.efs' in task["stoppedReason"]

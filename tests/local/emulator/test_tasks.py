"""ECS tasks as local processes: launching, refusing, stopping, and the events they leave."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from ministack.services import ecs as ecs_service

from cdk_runner_fleet._assets import RUNNER_IMAGE
from cdk_runner_fleet.local.emulator.launch import runner_launch
from cdk_runner_fleet.local.emulator.options import Options
from cdk_runner_fleet.local.emulator.tasks import of_copies
from tests.local.emulator.harness import ALLOW_ALL, Emulator, Events, eventually, unique_sleep

from .test_access import is_let, user

READY_IMAGE = "ghcr.io/octo-org/runner:1"
ACCOUNT = "123456789012"
ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Ecs:
    """A cluster with a task definition, and a queue that gets the default bus's ECS events."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.api = emulator.client("ecs")
        self.cluster = f"cluster-{uuid.uuid4().hex[:8]}"
        self.api.create_cluster(
            clusterName=self.cluster, capacityProviders=["FARGATE", "FARGATE_SPOT"]
        )
        self.family = self.define(READY_IMAGE)
        self.events = Events(emulator, {"source": ["aws.ecs"], "detail": {
            "clusterArn": [{"suffix": self.cluster}]}})  # fmt: skip

    def define(
        self, image: str, *, role: str | None = None, task_role: str = "", **container: Any
    ) -> str:
        family = f"family-{uuid.uuid4().hex[:8]}"
        self.api.register_task_definition(
            family=family,
            **({"executionRoleArn": role} if role else {}),
            **({"taskRoleArn": task_role} if task_role else {}),
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[
                {"name": "runner", "image": image,
                 "environment": [{"name": "BASE", "value": "b"}], **container}
            ],
        )  # fmt: skip
        return family

    def run(self, script: str = "exit 0", **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.api.run_task(
            cluster=self.cluster,
            taskDefinition=more.pop("family", self.family),
            capacityProviderStrategy=[{"capacityProvider": "FARGATE"}],
            startedBy=more.pop("started_by", "me"),
            overrides={
                "containerOverrides": [
                    {"name": "runner", "environment": [{"name": "SCRIPT", "value": script}]}
                ],
                **more.pop("overrides", {}),
            },
            **more,
        )
        return answer

    def task(self, arn: str) -> dict[str, Any]:
        task: dict[str, Any] = self.api.describe_tasks(cluster=self.cluster, tasks=[arn])["tasks"][
            0
        ]
        return task

    def stopped(self, arn: str) -> dict[str, Any]:
        eventually(lambda: self.task(arn)["lastStatus"] == "STOPPED")
        return self.task(arn)

    def log(self, arn: str) -> Path:
        return self.emulator.tasks_dir / arn.rsplit("/", 1)[-1] / "task.log"


@pytest.fixture
def ecs(emulator: Emulator) -> Ecs:
    return Ecs(emulator)


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    answer = error.value.response["Error"]
    return answer["Code"], answer["Message"]


def test_a_task_runs_and_its_exit_code_counts(ecs: Ecs) -> None:
    arn = ecs.run('echo "$BASE in $RUNNER_HOME"; pwd; exit 3')["tasks"][0]["taskArn"]
    task = ecs.stopped(arn)
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["containers"][0]["exitCode"] == 3
    home = str(ecs.log(arn).parent)
    assert ecs.log(arn).read_text().splitlines() == [f"b in {home}", home]


def test_events_of_a_life(ecs: Ecs) -> None:
    arn = ecs.run("exit 0", started_by="fleet-1-1")["tasks"][0]["taskArn"]
    task = ecs.stopped(arn)
    details = sorted(ecs.events.details(3), key=lambda detail: int(detail["version"]))
    assert [detail["lastStatus"] for detail in details] == ["PENDING", "RUNNING", "STOPPED"]
    last = details[-1]
    assert (last["startedBy"], last["stopCode"], last["desiredStatus"]) == (
        "fleet-1-1", "EssentialContainerExited", "STOPPED",
    )  # fmt: skip
    assert last["containers"][0]["exitCode"] == 0
    assert last["taskArn"] == arn
    assert {detail["group"] for detail in details} == {f"family:{ecs.family}"}
    for moment in ("createdAt", "startedAt", "stoppedAt"):
        assert task[moment] == datetime.fromisoformat(last[moment])


def test_stop_asks_first_and_kills_after_the_timeout(ecs: Ecs) -> None:
    family = ecs.define(READY_IMAGE, stopTimeout=2)
    stubborn = "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done"
    arn = ecs.run(stubborn, family=family)["tasks"][0]["taskArn"]
    eventually(lambda: ecs.log(arn).exists() and "up" in ecs.log(arn).read_text())
    answer = ecs.api.stop_task(cluster=ecs.cluster, task=arn, reason="enough")["task"]
    assert (answer["desiredStatus"], answer["lastStatus"]) == ("STOPPED", "RUNNING")
    task = ecs.stopped(arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert task["containers"][0]["exitCode"] == 137
    assert "asked" in ecs.log(arn).read_text()


def test_an_answer_stands_while_the_task_goes_on() -> None:
    class Growing(list[str]):
        def __iter__(self) -> Iterator[str]:
            task["exitCode"] = 0
            return super().__iter__()

        def copy(self) -> Growing:
            return self

    task: dict[str, Any] = {"containers": Growing(["runner"]), "_hidden": 1}
    assert of_copies(ecs_service._sanitize)(task) == {"containers": ["runner"]}
    assert "exitCode" in task


def test_stop_is_idempotent(ecs: Ecs) -> None:
    arn = ecs.run("exit 5")["tasks"][0]["taskArn"]
    ecs.stopped(arn)
    task = ecs.api.stop_task(cluster=ecs.cluster, task=arn)["task"]
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("EssentialContainerExited", 5)


def test_tasks_are_stopped_by_whose_tag_they_have(ecs: Ecs) -> None:
    """ECS API reference, StopTask: the tags of a task that is stopped are deleted."""
    api = user(
        ecs.emulator,
        "ecs",
        {
            "Action": "ecs:StopTask",
            "Resource": "*",
            "Condition": {"StringEqualsIfExists": {"aws:ResourceTag/fleet": "ours"}},
        },
    )
    ours, theirs, nobodys = (
        ecs.run(unique_sleep(), tags=tags)["tasks"][0]["taskArn"]
        for tags in ([{"key": "fleet", "value": "ours"}], [{"key": "fleet", "value": "theirs"}], [])
    )
    assert not is_let(api.stop_task, cluster=ecs.cluster, task=theirs)
    assert is_let(api.stop_task, cluster=ecs.cluster, task=ours)
    assert is_let(api.stop_task, cluster=ecs.cluster, task=nobodys)
    ecs.api.stop_task(cluster=ecs.cluster, task=theirs)
    assert is_let(api.stop_task, cluster=ecs.cluster, task=theirs), "it has no tag any more"
    for arn in (ours, theirs, nobodys):
        ecs.stopped(arn)


def test_what_the_task_left_behind_is_killed(ecs: Ecs) -> None:
    marker = unique_sleep()
    arn = ecs.run(f"{marker} & exit 0")["tasks"][0]["taskArn"]
    ecs.stopped(arn)
    eventually(lambda: marker not in subprocess.check_output(["ps", "ax"], text=True))


def test_the_same_client_token_starts_once(ecs: Ecs) -> None:
    first = ecs.run("sleep 30", clientToken="t1")
    second = ecs.run("sleep 30", clientToken="t1")
    assert first["tasks"][0]["taskArn"] == second["tasks"][0]["taskArn"]
    assert len(ecs.api.list_tasks(cluster=ecs.cluster)["taskArns"]) == 1
    ecs.api.stop_task(cluster=ecs.cluster, task=first["tasks"][0]["taskArn"])


class TestRefusals:
    def test_unknown_family(self, ecs: Ecs) -> None:
        with pytest.raises(ClientError) as error:
            ecs.run(family="nobody")
        assert refused(error) == ("ClientException", "TaskDefinition not found.")

    def test_unknown_cluster(self, ecs: Ecs) -> None:
        ecs.cluster = "nobody"
        with pytest.raises(ClientError) as error:
            ecs.run()
        assert refused(error)[0] == "ClusterNotFoundException"

    def test_container_that_is_not_there(self, ecs: Ecs) -> None:
        with pytest.raises(ClientError) as error:
            ecs.api.run_task(
                cluster=ecs.cluster,
                taskDefinition=ecs.family,
                overrides={"containerOverrides": [{"name": "other"}]},
            )
        assert refused(error)[0] == "InvalidParameterException"

    def test_capacity_provider_that_is_not_there(self, ecs: Ecs) -> None:
        with pytest.raises(ClientError) as error:
            ecs.api.run_task(
                cluster=ecs.cluster,
                taskDefinition=ecs.family,
                capacityProviderStrategy=[{"capacityProvider": "MINE"}],
            )
        assert refused(error)[0] == "InvalidParameterException"

    def test_an_ecr_image_without_an_execution_role(self, ecs: Ecs) -> None:
        with pytest.raises(ClientError) as error:
            ecs.run(family=ecs.define(f"{ECR}/nowhere:latest"))
        assert refused(error)[0] == "ClientException"
        assert "execution role ARN to support ECR images" in refused(error)[1]


TOKEN = {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}


class TestPulls:
    """Of an image in ECR: the execution role's own permissions count, as on Fargate."""

    def reason(self, ecs: Ecs, image: str, *statements: Any) -> str:
        role = ecs.emulator.role(list(statements), service="ecs-tasks")
        arn = ecs.run(family=ecs.define(image, role=role))["tasks"][0]["taskArn"]
        task = ecs.stopped(arn)
        if task["stopCode"] == "EssentialContainerExited":
            return ""
        assert task["stopCode"] == "TaskFailedToStart"
        assert "exitCode" not in task["containers"][0]
        return str(task["stoppedReason"])

    def pulling(self, name: str, *, account: str = ACCOUNT, region: str = "us-east-1") -> Any:
        return {
            "Effect": "Allow",
            "Action": [
                "ecr:BatchCheckLayerAvailability",
                "ecr:GetDownloadUrlForLayer",
                "ecr:BatchGetImage",
            ],
            "Resource": f"arn:aws:ecr:{region}:{account}:repository/{name}",
        }

    def test_without_a_token_nothing_is_asked_of_the_registry(self, ecs: Ecs) -> None:
        reason = self.reason(ecs, f"{ECR}/mine:1", self.pulling("mine"))
        assert reason.startswith("ResourceInitializationError: unable to pull secrets or registry")
        assert "not authorized to perform: ecr:GetAuthorizationToken on resource: *" in reason

    def test_another_repositorys_permission_does_not_do(self, ecs: Ecs) -> None:
        reason = self.reason(ecs, f"{ECR}/mine:1", TOKEN, self.pulling("others"))
        assert reason.startswith("CannotPullContainerError: pull image manifest has been retried")
        assert reason.endswith("[manifests 1]: 403 Forbidden")

    def test_an_image_that_is_not_there(self, ecs: Ecs) -> None:
        may = (TOKEN, self.pulling("nowhere"))
        assert "'nowhere' does not exist" in self.reason(ecs, f"{ECR}/nowhere:latest", *may)

    def test_another_accounts_and_regions_repository_is_looked_for_there(self, ecs: Ecs) -> None:
        other = boto3.client(
            "ecr",
            region_name="eu-west-3",
            endpoint_url=ecs.emulator.endpoint,
            aws_access_key_id="999999999999",
            aws_secret_access_key=ecs.emulator.secret,
        )
        other.create_repository(repositoryName="theirs")
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST})
        other.put_image(repositoryName="theirs", imageTag="1", imageManifest=manifest)
        image = "999999999999.dkr.ecr.eu-west-3.amazonaws.com/theirs:1"
        there = self.pulling("theirs", account="999999999999", region="eu-west-3")
        assert "403 Forbidden" in self.reason(ecs, image, TOKEN, self.pulling("theirs"))
        assert self.reason(ecs, image, TOKEN, there) == ""


class TestFaults:
    def test_no_capacity_once(self, ecs: Ecs, emulator: Emulator) -> None:
        emulator.fleet(
            "POST", "faults",
            {"on": "ecs:RunTask", "outcome": "failure", "match": ecs.family,
             "reason": "Capacity is unavailable at this time."},
        )  # fmt: skip
        answer = ecs.run()
        assert answer["tasks"] == []
        assert answer["failures"] == [{"reason": "Capacity is unavailable at this time."}]
        assert len(ecs.run()["tasks"]) == 1

    def test_an_error_as_often_as_asked(self, ecs: Ecs, emulator: Emulator) -> None:
        rule = {"on": "ecs:RunTask", "outcome": "error", "times": 2, "status": 400,
                "code": "ThrottlingException", "message": "Rate exceeded"}  # fmt: skip
        assert emulator.fleet("POST", "faults", rule)[0] == 201
        for _ in range(2):
            with pytest.raises(ClientError) as error:
                ecs.run()
            assert refused(error) == ("ThrottlingException", "Rate exceeded")
        assert len(ecs.run()["tasks"]) == 1

    def test_a_task_that_never_boots(self, ecs: Ecs, emulator: Emulator) -> None:
        emulator.fleet("POST", "faults", {"on": "task", "outcome": "never_boots"})
        arn = ecs.run("echo booted")["tasks"][0]["taskArn"]
        eventually(lambda: ecs.task(arn)["lastStatus"] == "RUNNING")
        ecs.api.stop_task(cluster=ecs.cluster, task=arn)
        ecs.stopped(arn)
        assert ecs.log(arn).read_text() == ""

    def test_an_image_that_cannot_be_pulled(self, ecs: Ecs, emulator: Emulator) -> None:
        emulator.fleet(
            "POST", "faults",
            {"on": "task", "outcome": "cannot_pull", "match": "fleet-9-1", "reason": "no luck"},
        )  # fmt: skip
        other = ecs.run(started_by="fleet-8-1")["tasks"][0]["taskArn"]
        arn = ecs.run(started_by="fleet-9-1")["tasks"][0]["taskArn"]
        task = ecs.stopped(arn)
        assert (task["stopCode"], task["stoppedReason"]) == ("TaskFailedToStart", "no luck")
        assert ecs.stopped(other)["stopCode"] == "EssentialContainerExited"

    def test_spot_takes_a_task_away(self, ecs: Ecs, emulator: Emulator) -> None:
        arn = ecs.run("sleep 60", started_by="fleet-7-1")["tasks"][0]["taskArn"]
        eventually(lambda: ecs.task(arn)["lastStatus"] == "RUNNING")
        answer = emulator.fleet(
            "POST", "faults",
            {"on": "running_task", "outcome": "SpotInterruption", "match": "fleet-7-1"},
        )  # fmt: skip
        assert answer == (200, {"task_arns": [arn]})
        task = ecs.stopped(arn)
        assert task["stopCode"] == "SpotInterruption"
        assert task["containers"][0]["exitCode"] == 143

    @pytest.mark.parametrize(
        "rule",
        [{"on": "task", "outcome": "explodes"}, {"on": "sqs:SendMessage", "outcome": "failure"},
         {"on": "task"}, {"on": "task", "outcome": "never_boots", "colour": "red"},
         {"on": "task", "outcome": "never_boots", "times": 0}],
    )  # fmt: skip
    def test_a_rule_without_effect_is_refused(
        self, emulator: Emulator, rule: dict[str, Any]
    ) -> None:
        assert emulator.fleet("POST", "faults", rule)[0] == 400


class TestMachineIntegration:
    """The optimized ``ecs:runTask``."""

    def machine(self, ecs: Ecs, **arguments: Any) -> dict[str, Any]:
        return {
            "StartAt": "Launch",
            "States": {
                "Launch": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::ecs:runTask",
                    "Arguments": {
                        "Cluster": ecs.cluster,
                        "TaskDefinition": ecs.family,
                        "Count": 1,
                        "StartedBy": "fleet-5-1",
                        "CapacityProviderStrategy": [{"CapacityProvider": "FARGATE"}],
                        "Overrides": {"ContainerOverrides": [{"Name": "runner", "Environment": [
                            {"Name": "SCRIPT", "Value": "exit 0"}]}]},
                        **arguments,
                    },
                    "End": True,
                }
            },
        }  # fmt: skip

    def test_its_answer_is_run_tasks_in_pascal_case(self, ecs: Ecs, emulator: Emulator) -> None:
        output = json.loads(emulator.run(self.machine(ecs))["output"])
        assert output["Failures"] == []
        assert output["Tasks"][0]["StartedBy"] == "fleet-5-1"
        assert output["Tasks"][0]["Containers"][0]["Name"] == "runner"
        ecs.stopped(output["Tasks"][0]["TaskArn"])

    def test_failures_are_an_answer_not_an_error(self, ecs: Ecs, emulator: Emulator) -> None:
        emulator.fleet("POST", "faults", {"on": "ecs:RunTask", "outcome": "failure", "reason": "R"})
        output = json.loads(emulator.run(self.machine(ecs))["output"])
        assert (output["Tasks"], output["Failures"]) == ([], [{"Reason": "R"}])

    def test_error_names(self, ecs: Ecs, emulator: Emulator) -> None:
        ended = emulator.run(self.machine(ecs, TaskDefinition="nobody"))
        assert ended["error"] == "ECS.ClientException"
        assert ended["cause"].startswith("TaskDefinition not found. (Service: AmazonECS;")
        rule = {"on": "ecs:RunTask", "outcome": "error", "code": "ThrottlingException"}
        emulator.fleet("POST", "faults", rule)
        assert emulator.run(self.machine(ecs))["error"] == "ECS.AmazonECSException"

    def test_permission_needs_cluster_and_family(self, ecs: Ecs, emulator: Emulator) -> None:
        cluster = f"arn:aws:ecs:us-east-1:123456789012:cluster/{ecs.cluster}"
        family = f"arn:aws:ecs:us-east-1:123456789012:task-definition/{ecs.family}:*"

        def outcome(resource: str, condition: str) -> str:
            statement = {"Effect": "Allow", "Action": "ecs:RunTask", "Resource": resource,
                         "Condition": {"ArnEquals": {"ecs:cluster": condition}}}  # fmt: skip
            ended = emulator.run(self.machine(ecs), statements=[statement])
            return str(ended.get("error", ended["status"]))

        assert outcome(family, cluster) == "SUCCEEDED"
        assert outcome(family, cluster + "x") == "ECS.AccessDeniedException"
        assert outcome(family.replace("family-", "other-"), cluster) == "ECS.AccessDeniedException"

    def test_tags_need_a_permission_of_their_own(self, ecs: Ecs, emulator: Emulator) -> None:
        run = {"Effect": "Allow", "Action": "ecs:RunTask", "Resource": "*"}
        tagging = {
            "Effect": "Allow",
            "Action": "ecs:TagResource",
            "Resource": f"arn:aws:ecs:us-east-1:123456789012:task/{ecs.cluster}/*",
            "Condition": {"StringEquals": {"ecs:CreateAction": "RunTask"}},
        }
        other = tagging | {"Condition": {"StringEquals": {"ecs:CreateAction": "CreateCluster"}}}
        ecs.api.register_task_definition(
            family=ecs.family,
            requiresCompatibilities=["FARGATE"],
            containerDefinitions=[{"name": "runner", "image": READY_IMAGE}],
            tags=[{"key": "team", "value": "a"}],
        )
        plain, tagged = self.machine(ecs), self.machine(ecs, PropagateTags="TASK_DEFINITION")
        assert emulator.run(plain, statements=[run])["status"] == "SUCCEEDED"
        for statements in ([run], [run, other]):
            denied = emulator.run(tagged, statements=statements)
            assert denied["error"] == "ECS.AccessDeniedException"
            assert "not authorized to perform: ecs:TagResource" in denied["cause"]
        assert emulator.run(tagged, statements=[run, tagging])["status"] == "SUCCEEDED"

    def test_pass_role(self, ecs: Ecs, emulator: Emulator) -> None:
        role = emulator.role(
            [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}], service="ecs-tasks"
        )
        ecs.api.register_task_definition(
            family=ecs.family,
            requiresCompatibilities=["FARGATE"],
            executionRoleArn=role,
            containerDefinitions=[{"name": "runner", "image": READY_IMAGE}],
        )
        run = {"Effect": "Allow", "Action": "ecs:RunTask", "Resource": "*"}
        passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role, "Condition": {
            "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}}  # fmt: skip
        denied = emulator.run(self.machine(ecs), statements=[run])
        assert denied["error"] == "ECS.AccessDeniedException"
        assert f"iam:PassRole on resource: {role}" in denied["cause"]
        assert emulator.run(self.machine(ecs), statements=[run, passing])["status"] == "SUCCEEDED"


@pytest.mark.parametrize("size", [20, 201])
def test_a_disk_that_fargate_does_not_have_is_refused(ecs: Ecs, size: int) -> None:
    with pytest.raises(ClientError) as error:
        ecs.run(overrides={"ephemeralStorage": {"sizeInGiB": size}})
    assert refused(error)[0] == "InvalidParameterException"
    assert ecs.run(overrides={"ephemeralStorage": {"sizeInGiB": 21}})["tasks"]


def test_overrides_have_a_length(ecs: Ecs) -> None:
    with pytest.raises(ClientError) as error:
        ecs.run("#" * 8192)
    assert refused(error)[0] == "InvalidParameterException"


class TestTaskRole:
    def trusting(self, ecs: Ecs, statement: dict[str, Any]) -> str:
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", **statement}
        name = f"role-{uuid.uuid4().hex[:8]}"
        made = ecs.emulator.client("iam").create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )
        return str(made["Role"]["Arn"])

    def run_with(self, ecs: Ecs, role: str, script: str = "exit 0") -> str:
        family = ecs.define(READY_IMAGE, task_role=role)
        return str(ecs.run(script, family=family)["tasks"][0]["taskArn"])

    def lent(self, ecs: Ecs, arn: str) -> dict[str, str]:
        """What such a task's environment says, which it goes on with after this."""
        said = ecs.log(arn).parent / "said"
        eventually(said.exists)
        return dict(line.split("=", 1) for line in said.read_text().splitlines())

    def ask(self, address: str, token: str) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(address, headers={"Authorization": token})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def test_its_session_is_named_after_the_task(self, ecs: Ecs, emulator: Emulator) -> None:
        role = emulator.role(ALLOW_ALL, service="ecs-tasks")
        say = "env | grep ^AWS_CONTAINER > saying; mv saying said; "
        arns = [self.run_with(ecs, role, f"{say} exec {unique_sleep()}") for _ in range(2)]
        addresses = []
        for arn in arns:
            lent = self.lent(ecs, arn)
            addresses.append(lent["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
            token = lent["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
            status, keys = self.ask(addresses[-1], token)
            assert (status, keys["RoleArn"]) == (200, role)
            who = emulator.client(
                "sts", keys=(keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])
            ).get_caller_identity()["Arn"]
            name = role.rpartition("/")[2]
            task_id = arn.rpartition("/")[2]
            assert who == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{task_id}"
        assert self.ask(addresses[0], token)[0] == 403, "the other task's token"
        assert self.ask(addresses[0], "")[0] == 403
        for arn in arns:
            ecs.api.stop_task(cluster=ecs.cluster, task=arn)
            ecs.stopped(arn)
        eventually(lambda: self.ask(addresses[1], token)[0] == 403)

    def test_a_launch_may_bring_another_role(self, ecs: Ecs, emulator: Emulator) -> None:
        """It is the task's, and has to trust ECS as its definition's had to."""
        of_definition, role = (emulator.role(ALLOW_ALL, service="ecs-tasks") for _ in range(2))
        family = ecs.define(READY_IMAGE, task_role=of_definition)
        say = "env | grep ^AWS_CONTAINER > saying; mv saying said; "
        overrides = {"taskRoleArn": role}
        answer = ecs.run(f"{say} exec {unique_sleep()}", family=family, overrides=overrides)
        arn = answer["tasks"][0]["taskArn"]
        lent = self.lent(ecs, arn)
        address = lent["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        _, keys = self.ask(address, lent["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
        assert keys["RoleArn"] == role
        ecs.api.stop_task(cluster=ecs.cluster, task=arn)
        stranger = self.trusting(ecs, {"Principal": {"Service": "ec2.amazonaws.com"}})
        with pytest.raises(ClientError) as error:
            ecs.run(family=family, overrides={"taskRoleArn": stranger})
        assert f"ECS was unable to assume the role '{stranger}'" in refused(error)[1]

    def test_a_task_without_a_role_is_lent_nothing(self, ecs: Ecs) -> None:
        arn = ecs.run("! env | grep ^AWS_CONTAINER")["tasks"][0]["taskArn"]
        assert ecs.stopped(arn)["containers"][0]["exitCode"] == 0

    @pytest.mark.parametrize(
        "statement",
        [
            {"Principal": {"Service": "ec2.amazonaws.com"}},
            {"Principal": {"AWS": "*"}},
            {
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Condition": {"StringEquals": {"aws:SourceAccount": "210987654321"}},
            },
            {
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:ecs:eu-*:{ACCOUNT}:*"}},
            },
        ],
        ids=["another service", "no service", "another account", "another region"],
    )
    def test_a_role_that_does_not_trust_it_is_refused(
        self, ecs: Ecs, statement: dict[str, Any]
    ) -> None:
        role = self.trusting(ecs, statement)
        with pytest.raises(ClientError) as error:
            self.run_with(ecs, role)
        code, message = refused(error)
        assert code == "ClientException"
        assert f"ECS was unable to assume the role '{role}'" in message

    def test_a_role_that_trusts_it_for_this_account_and_region(self, ecs: Ecs) -> None:
        role = self.trusting(
            ecs,
            {
                "Principal": {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]},
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": ACCOUNT},
                    "ArnLike": {"aws:SourceArn": f"arn:aws:ecs:us-east-1:{ACCOUNT}:*"},
                },
            },
        )
        assert ecs.stopped(self.run_with(ecs, role))["containers"][0]["exitCode"] == 0


def test_the_runner_images_own_launch(tmp_path: Path) -> None:
    options = Options(port=1, tasks_dir=tmp_path, runner_image=RUNNER_IMAGE)
    launch = runner_launch({"FLEET_URL": "http://127.0.0.1:1/x"}, tmp_path, options)
    assert launch.arguments == ("bash", str(RUNNER_IMAGE / "entrypoint.sh"))
    assert launch.environment["RUNNER_HOME"] == str(tmp_path)
    assert launch.environment["FLEET_URL"] == "http://127.0.0.1:1/x"
    assert "AWS_SECRET_ACCESS_KEY" not in launch.environment
    assert (tmp_path / "run.sh").stat().st_mode & 0o111
    assert "-m cdk_runner_fleet.local.emulator.runner" in (tmp_path / "run.sh").read_text()


def test_a_zone_that_fargate_is_not_in_starts_nothing(ecs: Ecs) -> None:
    api = ecs.emulator.client("ec2")
    vpc = api.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = {
        zone: api.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"][
            "SubnetId"
        ]
        for zone, cidr in (("us-east-1a", "10.9.0.0/20"), ("us-east-1e", "10.9.16.0/20"))
    }
    for chosen, starts in ((["us-east-1a"], True), ([*subnets], False), (["us-east-1e"], False)):
        network = {"awsvpcConfiguration": {"subnets": [subnets[zone] for zone in chosen]}}
        if starts:
            assert ecs.run(networkConfiguration=network)["tasks"]
            continue
        with pytest.raises(ClientError) as error:
            ecs.run(networkConfiguration=network)
        code, message = refused(error)
        assert code == "InvalidParameterException"
        assert "not supported in the requested availability zone: us-east-1e" in message


def test_a_cluster_is_not_deleted_while_a_task_is_in_it(ecs: Ecs) -> None:
    arn = ecs.run(f"exec {unique_sleep()}")["tasks"][0]["taskArn"]
    with pytest.raises(ClientError) as error:
        ecs.api.delete_cluster(cluster=ecs.cluster)
    assert refused(error)[0] == "ClusterContainsTasksException"
    ecs.api.stop_task(cluster=ecs.cluster, task=arn)
    ecs.stopped(arn)
    assert ecs.api.delete_cluster(cluster=ecs.cluster)["cluster"]["status"] == "INACTIVE"


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ([("team", "a~b")], "invalid characters"),
        ([("aws:mine", "a")], "reserved"),
        ([("a", "1"), ("a", "2")], "Duplicate tag keys"),
        ([(f"k{n}", "v") for n in range(51)], "limit of 50"),
        ([("team", "x" * 257)], "too long"),
    ],
)
def test_tags_that_ecs_does_not_take(ecs: Ecs, tags: list[tuple[str, str]], why: str) -> None:
    given = [{"key": key, "value": value} for key, value in tags]
    with pytest.raises(ClientError, match=why):
        ecs.run(tags=given)
    with pytest.raises(ClientError, match=why):
        ecs.api.register_task_definition(
            family=ecs.family, containerDefinitions=[{"name": "r", "image": "x"}], tags=given
        )

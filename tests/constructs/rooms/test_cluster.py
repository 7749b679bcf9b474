"""Where runners run: their network, what their tasks hold, and who reaches them."""

from __future__ import annotations

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2

from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.runner_image import RunnerImage

from ..fleets import READY
from ..templates import Template, as_list, environment, of_type, parts, statements


def test_default_network_has_no_nat_and_no_inbound_rule(minimal: Template) -> None:
    assert len(of_type(minimal, "AWS::EC2::Subnet")) == 2
    assert of_type(minimal, "AWS::EC2::NatGateway") == []
    [group] = of_type(minimal, "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group
    assert of_type(minimal, "AWS::EC2::SecurityGroupIngress") == []


def test_given_subnets_need_no_vpc(organization: Template) -> None:
    assert of_type(organization, "AWS::EC2::VPC") == []
    [machine] = of_type(organization, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["SubnetIds"] == "subnet-1"
    assert machine["DefinitionSubstitutions"]["SecurityGroupIds"] == "sg-1"


def test_subnets_alone_are_refused_with_the_remedy(stack: cdk.Stack) -> None:
    subnet = ec2.Subnet.from_subnet_id(stack, "S", "subnet-1")
    image = RunnerImage(stack, "Image", image_uri=READY, jobs_may_choose=False)
    with pytest.raises(ValueError, match="1 subnets are given without security_groups, name"):
        RunnerCluster(stack, "Cluster", image=image, subnets=[subnet])


def test_jobs_hold_no_credentials_until_something_is_granted(
    minimal: Template, everything: Template
) -> None:
    [plain] = of_type(minimal, "AWS::ECS::TaskDefinition")
    [granted] = of_type(everything, "AWS::ECS::TaskDefinition")
    assert "TaskRoleArn" not in plain
    assert "TaskRoleArn" in granted


def test_granting_lets_the_launchers_pass_the_new_role(everything: Template) -> None:
    role = of_type(everything, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]
    passing = [
        s
        for s in statements(everything)
        if s["Action"] == "iam:PassRole" and role in as_list(s["Resource"])
    ]
    assert len(passing) == 2  # the state machine's and build_image's
    for statement in passing:
        service = statement["Condition"]["StringEquals"]["iam:PassedToService"]
        assert service == "ecs-tasks.amazonaws.com"


def test_tasks_of_other_clusters_are_out_of_reach(minimal: Template) -> None:
    found = [
        statement
        for statement in statements(minimal)
        if set(as_list(statement["Action"])) & {"ecs:ListTasks", "ecs:StopTask"}
    ]
    assert len(found) == 3  # the state machine's one, and reconciliation's two
    assert all("ecs:cluster" in s["Condition"]["ArnEquals"] for s in found)


def test_the_base_definition_of_built_images_is_one(everything: Template) -> None:
    [task] = of_type(everything, "AWS::ECS::TaskDefinition")
    assert environment(everything, "dispatch_event")["DEFAULT_TASK_DEFINITIONS"] == "{}"
    assert environment(everything, "dispatch_event")["ARCHITECTURES"] == '["X86_64", "ARM64"]'
    assert task["RuntimePlatform"]["CpuArchitecture"] == "X86_64"


def test_a_ready_image_is_launched_as_it_is_on_each_architecture(organization: Template) -> None:
    tasks = {
        task["RuntimePlatform"]["CpuArchitecture"]: task
        for task in of_type(organization, "AWS::ECS::TaskDefinition")
    }
    assert set(tasks) == {"X86_64", "ARM64"}
    assert {t["ContainerDefinitions"][0]["Image"] for t in tasks.values()} == {READY}
    assert tasks["X86_64"]["Family"] != tasks["ARM64"]["Family"]
    launched = parts(environment(organization, "dispatch_event")["DEFAULT_TASK_DEFINITIONS"])
    assert "X86_64" in launched
    assert "ClusterArm64TaskDefinition" in launched


def test_a_ready_image_of_a_private_repository_may_be_pulled(organization: Template) -> None:
    policies = of_type(organization, "AWS::IAM::Policy")
    [execution] = [each for each in policies if "ExecutionRole" in parts(each["Roles"])]
    assert "repository/ours" in parts(execution["PolicyDocument"])


def test_a_task_declares_what_its_image_was_said_to_have(
    minimal: Template, everything: Template
) -> None:
    [found] = of_type(minimal, "AWS::ECS::TaskDefinition")
    [declared] = of_type(everything, "AWS::ECS::TaskDefinition")
    assert "Environment" not in found["ContainerDefinitions"][0]
    assert declared["ContainerDefinitions"][0]["Environment"] == [
        {"Name": "RUNNER_CAPABILITIES", "Value": "shell,python,postgres"}
    ]

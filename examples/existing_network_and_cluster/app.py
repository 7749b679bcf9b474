"""A fleet in a VPC, a cluster and on a bus that are there already."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events

from cdk_runner_fleet import GitHub, RunnerFleet

app = cdk.App()
stack = cdk.Stack(app, "Runners")
vpc = ec2.Vpc.from_vpc_attributes(
    stack,
    "Vpc",
    vpc_id="vpc-0123456789abcdef0",
    availability_zones=["eu-west-1a", "eu-west-1b"],
    private_subnet_ids=["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
)
RunnerFleet(
    stack,
    "Fleet",
    github=GitHub.repository("octo-org/octo-repo"),
    vpc=vpc,
    vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
    assign_public_ip=False,
    cluster=ecs.Cluster.from_cluster_attributes(stack, "Cluster", cluster_name="shared", vpc=vpc),
    event_bus=events.EventBus.from_event_bus_name(stack, "Bus", "shared"),
)
app.synth()

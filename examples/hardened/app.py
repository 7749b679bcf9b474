"""A fleet with its strictest settings: five packs of cdk-nag find nothing here.

AwsSolutions, NIST 800-53 R5, Serverless, HIPAA Security and PCI DSS 3.2.1: docs/compliance.md. It
needs aws-cdk-lib 2.258, from which on cdk-nag 3 checks anything.
"""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import IConstruct

from cdk_runner_fleet import (
    FunctionOptions,
    GitHub,
    GitHubApp,
    ImageBuilds,
    RunnerFleet,
    RunnerLimits,
    Webhook,
)

APP_KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Say why a rule that several packs have is broken here."""
    cdk.Validations.of(construct).acknowledge(
        *(
            cdk.Acknowledgment(id=f"{pack}-{rule}", reason=reason)
            for pack in ("NIST.800.53.R5", "HIPAA.Security", "PCI.DSS.321")
        )
    )


app = cdk.App()
stack = cdk.Stack(app, "Runners", termination_protection=True)

key = kms.Key(stack, "Key", enable_key_rotation=True)
flow_logs = logs.LogGroup(
    stack, "FlowLogs", encryption_key=key, retention=logs.RetentionDays.ONE_YEAR
)

# runners, and functions that ask GitHub, reach out by NAT gateways; nothing reaches them
vpc = ec2.Vpc(
    stack,
    "Vpc",
    max_azs=2,
    restrict_default_security_group=True,
    subnet_configuration=[
        ec2.SubnetConfiguration(
            name="Gateways",
            subnet_type=ec2.SubnetType.PUBLIC,
            map_public_ip_on_launch=False,
            cidr_mask=28,
        ),
        ec2.SubnetConfiguration(
            name="Runners", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20
        ),
    ],
    flow_logs={
        "All": ec2.FlowLogOptions(destination=ec2.FlowLogDestination.to_cloud_watch_logs(flow_logs))
    },
)
for subnet in vpc.public_subnets:
    acknowledge(subnet, "VPCNoUnrestrictedRouteToIGW", "Nothing but NAT gateways is in it.")
acknowledge(vpc, "IAMNoInlinePolicy", "The role of the flow logs, and its policy, are aws-cdk's.")

topic = sns.Topic(stack, "Topic", master_key=key, enforce_ssl=True)
# who rings: a topic with a policy of its own, as this one has, lets in nobody else
alarms = iam.ServicePrincipal("cloudwatch.amazonaws.com")
topic.grant_publish(alarms)
key.grant_encrypt_decrypt(alarms)

fleet = RunnerFleet(
    stack,
    "Fleet",
    github=GitHub.organization(
        "octo-org",
        # its private key is in KMS, which signs with it and gives it to nobody
        apps=[GitHubApp(app_id=123456, kms_key=kms.Key.from_key_arn(stack, "AppKey", APP_KEY))],
        runner_group="fargate",
    ),
    vpc=vpc,
    assign_public_ip=False,
    encryption_key=key,
    log_retention=logs.RetentionDays.ONE_YEAR,
    images=ImageBuilds(allowed_bases=()),  # no job chooses its image
    limits=RunnerLimits(max_runners=200, daily_budget_usd=50),
    webhook=Webhook(only_from_github=True, reserved_concurrency=50),
    functions=FunctionOptions(tracing=lambda_.Tracing.ACTIVE, vpc=vpc),
)
fleet.add_alarms(topic)
app.synth()

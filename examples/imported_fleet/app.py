"""Alarms and a dashboard in a stack of their own, for a fleet of another one."""

import aws_cdk as cdk
from aws_cdk import aws_sns as sns

from cdk_runner_fleet import FleetAlarms, FleetDashboard, RunnerFleet

app = cdk.App()
stack = cdk.Stack(app, "Operations")
# outputs of the RunnerFleetStack
fleet = RunnerFleet.from_runner_fleet_attributes(
    stack,
    "Fleet",
    fleet_name="RunnerFleet",
    state_machine_arn="arn:aws:states:eu-west-1:123456789012:stateMachine:runners",
    failed_events_queue_arn="arn:aws:sqs:eu-west-1:123456789012:failed-events",
)
alarms = FleetAlarms(stack, "Alarms", fleet=fleet, topic=sns.Topic(stack, "Topic"))
FleetDashboard(stack, "Dashboard", fleet=fleet, alarms=alarms)
app.synth()

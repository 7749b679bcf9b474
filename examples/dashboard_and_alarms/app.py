"""A fleet with a dashboard, alarms that reach a topic, and saved queries of its logs."""

import aws_cdk as cdk
from aws_cdk import aws_sns as sns

from cdk_runner_fleet import GitHub, RunnerFleet

app = cdk.App()
stack = cdk.Stack(app, "Runners")
fleet = RunnerFleet(stack, "Fleet", github=GitHub.repository("octo-org/octo-repo"))
fleet.add_dashboard(alarms=fleet.add_alarms(sns.Topic(stack, "Alarms")))
fleet.add_log_queries()
app.synth()

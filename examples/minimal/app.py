"""A fleet for one repository, with every default."""

import aws_cdk as cdk

from cdk_runner_fleet import GitHub, RunnerFleet

app = cdk.App()
stack = cdk.Stack(app, "Runners")
RunnerFleet(stack, "Fleet", github=GitHub.repository("octo-org/octo-repo"))
app.synth()

"""Two fleets in one organization: each serves jobs that ask for it by a label of its own."""

import aws_cdk as cdk

from cdk_runner_fleet import GitHub, RunnerFleet

app = cdk.App()
stack = cdk.Stack(app, "Runners")
for team in ("web", "data"):
    RunnerFleet(
        stack,
        team.capitalize(),
        github=GitHub.organization("octo-org", runner_group=team, required_labels=[team]),
        runner_name_prefix=team,
    )
app.synth()

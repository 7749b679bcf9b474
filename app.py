#!/usr/bin/env python3
"""The app as it stands: one fleet, its settings from ``cdk.json`` and ``-c key=value``."""

import aws_cdk as cdk

from cdk_runner_fleet import RunnerFleetStack

app = cdk.App()
RunnerFleetStack(app, "RunnerFleet")
app.synth()

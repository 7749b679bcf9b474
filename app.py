#!/usr/bin/env python3
"""The app as it stands: one fleet, its settings from ``cdk.json`` and ``-c key=value``."""

import aws_cdk as cdk

from cdk_runner_fleet import RunnerFleetStack
from cdk_runner_fleet.context import FleetSettings

app = cdk.App()
settings = FleetSettings.from_context(app.node, exclusive=True)
RunnerFleetStack(app, "RunnerFleet", settings=settings)
app.synth()

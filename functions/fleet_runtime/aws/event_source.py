"""Whose events the fleet's own are, on its bus. The bus's rules and its archive go by it too."""

EVENT_SOURCE = "cdk-runner-fleet"

"""`runner-fleet`: see and steer a fleet, on AWS or on this machine."""

from cdk_runner_fleet.cli.app import main

__all__ = ["main"]

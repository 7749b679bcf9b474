"""GitHub, as far as a fleet of self-hosted runners sees it, on loopback.

It speaks GitHub's REST API and webhooks, reads real workflow files, and gives a job to any online
runner that has all its labels. `cdk_runner_fleet.local.emulator.runner` runs the jobs.
"""

from cdk_runner_fleet.local.twin.askers import TwinApp
from cdk_runner_fleet.local.twin.faults import ApiFault, Conditions, WebhookFault
from cdk_runner_fleet.local.twin.server import GitHubTwin

__all__ = ["ApiFault", "Conditions", "GitHubTwin", "TwinApp", "WebhookFault"]

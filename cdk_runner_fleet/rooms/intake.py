"""Where GitHub's deliveries come in."""

from __future__ import annotations

from aws_cdk import Duration, Stack
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet._nag import acknowledge
from cdk_runner_fleet._place import check_place
from cdk_runner_fleet.rooms.api import FleetApi, Throttle
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.github import GitHub
from cdk_runner_fleet.values.webhook import Webhook

_PATH = "/webhook"
_THROTTLE = Throttle(rate=50, burst=1000)
"""GitHub queues up to 500 runs in ten seconds for a repository ("Actions limits"). A delivery that
is turned away is asked for once more, and its job found by looking at GitHub."""


class WebhookIntake(Construct):
    """Takes GitHub's deliveries, checks who signed them and puts them on the fleet's bus.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        api: Where they come in.
        bus: Where they go.
        github: What is served, and which jobs of these: other deliveries are ignored.
        webhook: Who may call, and how much at a time.
        runner_name_prefix: What the runners' names begin with: what happens on one of them comes in
            whatever the job's labels.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: FleetApi,
        bus: FleetBus,
        github: GitHub,
        webhook: Webhook,
        runner_name_prefix: str,
        options: FunctionOptions,
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        if webhook.secret:
            check_place(
                self,
                "secret of the webhook",
                webhook.secret,
                arn=webhook.secret.secret_arn,
                account=False,
                why="a secret is read in its own region alone",
            )
        self.secret = webhook.secret or secretsmanager.Secret(
            self,
            "Secret",
            description="cdk-runner-fleet: GitHub signs its deliveries with this",
            encryption_key=at_rest.encryption_key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=40, exclude_punctuation=True
            ),
        )
        acknowledge(
            self.secret,
            "SMG4",
            "SecretsManagerRotationEnabled",
            reason="GitHub knows the webhook secret, so Secrets Manager cannot rotate it alone; "
            "the previous secret is accepted too while it is rotated by hand. "
            "Evidence: tests/functions/github/test_intake.py.",
        )
        self.url = f"{api.url_at(webhook.domain_name)}{_PATH}"
        self.hook_networks = (
            ssm.StringParameter(
                self,
                "HookNetworks",
                description="cdk-runner-fleet: networks that GitHub's webhooks come from",
                string_value="[]",  # until they are noted
            )
            if webhook.only_from_github
            else None
        )
        """Where it is noted which networks deliveries may come from; None if from everywhere."""
        self.receive_webhook = FleetFunction(
            self,
            "ReceiveWebhook",
            handler="receive_webhook",
            options=options,
            at_rest=at_rest,
            timeout=Duration.seconds(9),  # GitHub waits ten
            memory_size=1024,  # its cold start is what GitHub waits for
            powertools=False,
            serves_api=True,
            reserved_concurrency=webhook.reserved_concurrency,
            environment={
                **bus.environment,
                "WEBHOOK_SECRET_ARN": self.secret.secret_arn,
                "WEBHOOK_SECRET_FIELD": webhook.secret_field or "",
                "GITHUB_SCOPE": github.scope,
                "RUNNER_NAME_PREFIX": runner_name_prefix,
                "WEBHOOK_ALLOWED_CIDRS": Stack.of(self).to_json_string(list(webhook.allowed_cidrs)),
                "HOOK_NETWORKS_PARAM": (
                    self.hook_networks.parameter_name if self.hook_networks else ""
                ),
                **github.label_rules.to_settings(),
            },
        )
        if self.hook_networks:
            self.receive_webhook.allow(
                "ssm:GetParameter", resources=[self.hook_networks.parameter_arn]
            )
        at_rest.grant_read(self.secret, self.receive_webhook)
        bus.grant_put(self.receive_webhook, "workflow_job")
        api.serve(self.receive_webhook, _PATH, throttle=_THROTTLE)

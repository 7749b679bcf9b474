"""The URL that GitHub and the runners call."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet._nag import acknowledge, acknowledge_pattern

_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "caller": "$context.identity.userArn",
    "route": "$context.routeKey",
    "status": "$context.status",
    "latency": "$context.responseLatency",
    "integrationError": "$context.integrationErrorMessage",
}

_TAKEN = "cdk-runner-fleet:api"
"""Metadata of a domain: whose API it leads to."""


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """How often a route is answered; what comes on top gets 429 and reaches no function.

    Attributes:
        rate: Requests a second.
        burst: Requests at once.
    """

    rate: int
    burst: int


class FleetApi(Construct):
    """An HTTP API with access logs, and a throttle for each route: no flood takes another's share.

    Each caller shows what it has. A runner's task has a role: it signs its claim, and IAM's
    authorizer says who it is; what it reports later carries a token. GitHub proves itself with a
    signature over the raw body, which an authorizer never sees.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        at_rest: How the access logs are kept.
    """

    def __init__(self, scope: Construct, construct_id: str, *, at_rest: DataAtRest) -> None:
        super().__init__(scope, construct_id)
        self.http_api = apigateway.HttpApi(self, "HttpApi", create_default_stage=False)
        self.log_group = at_rest.log_group(self, "AccessLogs", vended_by="apis")
        self._stage = apigateway.HttpStage(
            self, "Stage", http_api=self.http_api, stage_name="$default", auto_deploy=True
        )
        self._throttles: dict[str, object] = {}
        self._integrations: dict[str, integrations.HttpLambdaIntegration] = {}
        # the L2 property is a behavioural interface that Python cannot pass as a plain value
        self._resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=self.log_group.log_group_arn, format=json.dumps(_ACCESS_LOG)
        )
        acknowledge(
            self,
            "APIG4",
            reason="GitHub signs the raw body, which an authorizer never sees; what a runner "
            "reports carries the token that its claim was answered with, and the claim's own route "
            "has IAM's authorizer. Evidence: tests/functions/github/test_intake.py, "
            "tests/functions/runner/test_reporting.py, tests/functions/runner/test_claims.py.",
        )
        acknowledge(
            self,
            "APIGWDefaultThrottling",
            reason="Each route has a throttle of its own, and there are no others. "
            "Evidence: tests/constructs/rooms/test_api.py.",
        )

    def url_at(self, domain_name: apigateway.IDomainName | None) -> str:
        """Answer at a domain too, if one is given; returns the URL without a slash at its end.

        It is answered at the root of the domain, which the API then has for itself.

        Raises:
            ValueError: if another fleet has the domain.
        """
        if domain_name is None:
            return self.url
        taken = [str(one.data) for one in domain_name.node.metadata if one.type == _TAKEN]
        if taken:
            raise ValueError(
                f"domain_name {domain_name.node.path} is {taken[0]}'s already, which answers at "
                "its root: give each fleet a domain of its own"
            )
        domain_name.node.add_metadata(_TAKEN, self.node.path)
        apigateway.ApiMapping(
            self, "Mapping", api=self.http_api, domain_name=domain_name, stage=self._stage
        )
        return f"https://{domain_name.name}"

    @property
    def url(self) -> str:
        """The API's URL without a slash at its end."""
        return self.http_api.api_endpoint

    @property
    def _resource(self) -> apigateway.CfnStage:
        resource = self._stage.node.default_child
        assert isinstance(resource, apigateway.CfnStage)  # noqa: S101 - narrows the type
        return resource

    def serve(
        self,
        function: FleetFunction,
        path: str,
        *,
        throttle: Throttle,
        caller: iam.IRole | None = None,
    ) -> None:
        """Answer ``POST`` to ``path`` with ``function``, and no more often than ``throttle``.

        Args:
            function: What answers.
            path: The path, with its parameters in braces.
            throttle: How often.
            caller: A role that may ask; AWS then tells ``function`` who does, which has to look at
                it, for whoever may invoke every API of the account may invoke this one. Default:
                everybody may ask.
        """
        name = function.node.id
        if name not in self._integrations:
            self._integrations[name] = integrations.HttpLambdaIntegration(
                f"{name}Integration",
                function,
                scope_permission_to_route=False,  # one permission for all of its routes
            )
        routes = self.http_api.add_routes(
            path=path,
            methods=[apigateway.HttpMethod.POST],
            integration=self._integrations[name],
            authorizer=authorizers.HttpIamAuthorizer() if caller else None,
        )
        self._throttles[f"POST {path}"] = {
            "ThrottlingRateLimit": throttle.rate,
            "ThrottlingBurstLimit": throttle.burst,
        }
        self._resource.route_settings = self._throttles
        # a stage that names a route is refused before there is one
        for route in routes:
            self._stage.node.add_dependency(route)
        if caller:
            self._grant_invoke(caller, path)

    def _grant_invoke(self, caller: iam.IRole, path: str) -> None:
        # the L2 grant stops at the first parameter: /runners/* would be each route below it
        arn = self.http_api.arn_for_execute_api("POST", re.sub(r"\{\w+\}", "*", path))
        caller.add_to_principal_policy(
            iam.PolicyStatement(actions=["execute-api:Invoke"], resources=[arn])
        )
        acknowledge_pattern(
            caller, arn, reason="The runner is in the path, and the API has one stage."
        )

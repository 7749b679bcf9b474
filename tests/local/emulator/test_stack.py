"""A CDK template of every kind of resource a fleet has: deployed, wired and enforced."""

from __future__ import annotations

import base64
import functools
import json
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as functions
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secrets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from aws_cdk import aws_stepfunctions as sfn
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.local.emulator.harness import Emulator, eventually
from tests.waiting import PATIENCE_SECONDS

NAME = "Everything"
CODE = """
import base64, json, os, boto3

class Mine(Exception):
    pass

def handler(event, context):
    if isinstance(event, dict) and event.get("requestContext"):
        if event["rawPath"] == "/boom":
            raise Mine("boom")
        body = event.get("body") or ""
        return {"statusCode": 201, "headers": {"x-extra": "1"}, "body": json.dumps({
            "version": event["version"], "path": event["rawPath"], "headers": event["headers"],
            "body": body, "encoded": event["isBase64Encoded"], "query": event["rawQueryString"],
            "parameters": event.get("pathParameters"), "method":
                event["requestContext"]["http"]["method"],
            "authorizer": event["requestContext"].get("authorizer")})}
    key = str(event.get("detail-type", event.get("key", "none")))
    boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item={
        "id": {"S": key}, "event": {"S": json.dumps(event)},
        "remaining": {"N": str(context.get_remaining_time_in_millis())},
        "worker": {"N": str(os.getpid())}})
    if event.get("raise"):
        raise Mine(event["raise"])
    if event.get("forbidden"):
        boto3.client("dynamodb").scan(TableName=os.environ["TABLE"])
    if event.get("sleep"):
        import time; time.sleep(event["sleep"])
    if event.get("exit"):
        os._exit(9)
    return {"key": key}
"""


def template() -> dict[str, Any]:
    app = cdk.App(analytics_reporting=False, builtin_cloud_formation_validation=False)
    stack = cdk.Stack(
        app, NAME, synthesizer=cdk.LegacyStackSynthesizer(),
        env=cdk.Environment(account="123456789012", region="us-east-1"),
    )  # fmt: skip
    table = dynamodb.TableV2(
        stack, "Table",
        partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
        time_to_live_attribute="expires_at",
    )  # fmt: skip
    failed = sqs.Queue(stack, "Failed", enforce_ssl=True)
    layer = functions.LayerVersion.from_layer_version_arn(
        stack, "Powertools",
        ssm.StringParameter.value_for_string_parameter(
            stack, "/aws/service/powertools/python/arm64/python3.14/latest"
        ),
    )  # fmt: skip
    function = functions.Function(
        stack, "Function",
        runtime=functions.Runtime.PYTHON_3_13,
        handler="index.handler",
        code=functions.Code.from_inline(CODE),
        layers=[layer],
        environment={"TABLE": table.table_name},
        timeout=cdk.Duration.seconds(3),
        log_group=logs.LogGroup(stack, "Logs", retention=logs.RetentionDays.ONE_WEEK),
        on_failure=destinations.SqsDestination(failed),
        retry_attempts=1,
    )  # fmt: skip
    table.grant(function, "dynamodb:PutItem")
    token = secrets.Secret(stack, "Token", generate_secret_string=secrets.SecretStringGenerator(
        password_length=40, exclude_punctuation=True))  # fmt: skip
    token.grant_read(function)
    bus = events.EventBus(stack, "Bus")
    archive = bus.archive("Archive", event_pattern=events.EventPattern(source=["mine"]))
    dead = sqs.Queue(stack, "Dead")
    target = targets.LambdaFunction(function, dead_letter_queue=dead, retry_attempts=2)
    events.Rule(stack, "Mine", event_bus=bus, event_pattern=events.EventPattern(source=["mine"]),
                targets=[target])  # fmt: skip
    events.Rule(
        stack, "Deployed",
        event_pattern=events.EventPattern(
            source=["aws.cloudformation"],
            detail_type=["CloudFormation Stack Status Change"],
            detail={"stack-id": [stack.stack_id],
                    "status-details": {"status": ["CREATE_COMPLETE"]}},
        ),
        targets=[target],
    )  # fmt: skip
    # A rule without the permission that targets.LambdaFunction would have added.
    events.CfnRule(
        stack, "Unpermitted", event_bus_name=bus.event_bus_name,
        event_pattern={"source": ["unpermitted"]},
        targets=[events.CfnRule.TargetProperty(arn=function.function_arn, id="t")],
    )  # fmt: skip
    api = apigateway.HttpApi(stack, "Api", create_default_stage=False)
    stage = apigateway.HttpStage(
        stack, "Stage", http_api=api, stage_name="$default", auto_deploy=True,
        throttle=apigateway.ThrottleSettings(rate_limit=10, burst_limit=10),
    )  # fmt: skip
    access = logs.LogGroup(stack, "Access")
    resource = stage.node.default_child
    assert isinstance(resource, apigateway.CfnStage)
    resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
        destination_arn=access.log_group_arn, format='{"id":"$context.requestId"}'
    )
    integration = integrations.HttpLambdaIntegration("Integration", function)
    for path in ("/webhook", "/runners/{id}/claim", "/boom"):
        api.add_routes(path=path, methods=[apigateway.HttpMethod.POST], integration=integration)
    api.add_routes(
        path="/signed/{id}",
        methods=[apigateway.HttpMethod.POST],
        integration=integration,
        authorizer=authorizers.HttpIamAuthorizer(),
    )
    cloudwatch.Alarm(stack, "Alarm", metric=function.metric_errors(), threshold=1,
                     evaluation_periods=1)  # fmt: skip
    logs.MetricFilter(stack, "Filter", log_group=access, metric_namespace="n", metric_name="m",
                      filter_pattern=logs.FilterPattern.exists("$.id"))  # fmt: skip
    logs.QueryDefinition(stack, "Query", query_definition_name="q",
                         query_string=logs.QueryString(fields=["@message"]))  # fmt: skip
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    vpc = ec2.Vpc(
        stack, "Vpc", nat_gateways=0, max_azs=2,
        subnet_configuration=[ec2.SubnetConfiguration(name="Public",
                                                      subnet_type=ec2.SubnetType.PUBLIC)],
        flow_logs={"Rejected": ec2.FlowLogOptions(traffic_type=ec2.FlowLogTrafficType.REJECT)},
    )  # fmt: skip
    ec2.SecurityGroup(stack, "Group", vpc=vpc)
    cluster = ecs.Cluster(stack, "Cluster", vpc=vpc, enable_fargate_capacity_providers=True,
                          container_insights_v2=ecs.ContainerInsights.ENABLED)  # fmt: skip
    repository = ecr.Repository(
        stack, "Repository", image_scan_on_push=True, encryption_key=key,
        image_tag_mutability=ecr.TagMutability.IMMUTABLE,
    )  # fmt: skip
    task = ecs.FargateTaskDefinition(stack, "Task", cpu=256, memory_limit_mib=512)
    task.add_container(
        "runner", image=ecs.ContainerImage.from_ecr_repository(repository, "base"),
        logging=ecs.LogDrivers.aws_logs(stream_prefix="runner"),
    )  # fmt: skip
    project = codebuild.Project(
        stack, "Project",
        build_spec=codebuild.BuildSpec.from_object({"version": "0.2", "phases": {}}),
        environment_variables={"RUNNER_REPOSITORY_URL": codebuild.BuildEnvironmentVariable(
            value=repository.repository_uri)},
    )  # fmt: skip
    repository.grant_pull(project)
    sizes = ssm.StringParameter(stack, "Sizes", string_value="{}")
    machine = sfn.StateMachine(
        stack, "Machine",
        definition_body=sfn.DefinitionBody.from_string(json.dumps({
            "QueryLanguage": "JSONata", "StartAt": "Call", "States": {"Call": {
                "Type": "Task", "Resource": "arn:${Partition}:states:::lambda:invoke",
                "Arguments": {"FunctionName": "${Function}", "Payload": "{% $states.input %}"},
                "Output": "{% $states.result.Payload %}", "End": True}}})),
        definition_substitutions={"Partition": stack.partition, "Function": function.function_arn},
        logs=sfn.LogOptions(destination=logs.LogGroup(stack, "MachineLogs")),
        tracing_enabled=True,
    )  # fmt: skip
    function.grant_invoke(machine)
    values = {
        "ApiUrl": api.api_endpoint, "Table": table.table_name, "Bus": bus.event_bus_name,
        "BusArn": bus.event_bus_arn, "Archive": archive.archive_arn,
        "Machine": machine.state_machine_arn, "Secret": token.secret_arn,
        "Project": project.project_name, "Repository": repository.repository_uri,
        "RepositoryName": repository.repository_name, "Function": function.function_name,
        "Cluster": cluster.cluster_name, "Task": task.task_definition_arn,
        "Sizes": sizes.parameter_name, "SizesArn": sizes.parameter_arn,
        "SecretRef": token.node.default_child.ref, "Failed": failed.queue_url,  # type: ignore[union-attr]
    }  # fmt: skip
    for name, value in values.items():
        cdk.CfnOutput(stack, f"{name}Output", value=value)
    made: dict[str, Any] = app.synth().get_stack_by_name(NAME).template
    return made


class Stack:
    def __init__(self, emulator: Emulator, outputs: dict[str, str]) -> None:
        self.emulator = emulator
        self.outputs = outputs

    def row(self, key: str) -> dict[str, Any]:
        return self.emulator.item(self.outputs["Table"], key)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.outputs["ApiUrl"] + path, data=body, headers=headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def invoke(self, event: dict[str, Any]) -> tuple[str | None, Any]:
        answer = self.emulator.client("lambda").invoke(
            FunctionName=self.outputs["Function"], Payload=json.dumps(event)
        )
        return answer.get("FunctionError"), json.load(answer["Payload"])

    def publish(self, source: str, key: str) -> None:
        entry = {"Source": source, "DetailType": key, "Detail": "{}",
                 "EventBusName": self.outputs["Bus"]}  # fmt: skip
        assert self.emulator.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


@pytest.fixture(scope="module")
def deployed(_process: Emulator) -> Iterator[Stack]:
    cloudformation, s3 = _process.client("cloudformation"), _process.client("s3")
    made = template()
    s3.create_bucket(Bucket="templates")
    s3.put_object(Bucket="templates", Key="t.json", Body=json.dumps(made).encode())
    cloudformation.create_stack(
        StackName=NAME,
        TemplateURL=f"{_process.endpoint}/templates/t.json",
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )

    def done() -> Any:
        stack = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
        return stack if not stack["StackStatus"].endswith("IN_PROGRESS") else None

    stack = eventually(done)
    failed = [
        (event["LogicalResourceId"], event.get("ResourceStatusReason"))
        for event in cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
        if event["ResourceStatus"].endswith("FAILED")
    ]
    assert (stack["StackStatus"], failed) == ("CREATE_COMPLETE", [])
    yield Stack(
        _process,
        {
            output["OutputKey"].removesuffix("Output"): output["OutputValue"]
            for output in stack["Outputs"]
        },
    )
    cloudformation.delete_stack(StackName=NAME)


class TestResources:
    def test_secret_is_generated_and_its_ref_is_its_arn(self, deployed: Stack) -> None:
        arn = deployed.outputs["SecretRef"]
        assert arn.startswith("arn:aws:secretsmanager:us-east-1:123456789012:secret:")
        secret = deployed.emulator.client("secretsmanager").get_secret_value(SecretId=arn)
        assert len(secret["SecretString"]) == 40
        assert secret["SecretString"].isalnum()

    def test_parameter_name_composes_to_its_arn(self, deployed: Stack) -> None:
        name = deployed.outputs["Sizes"]
        assert deployed.outputs["SizesArn"].endswith(f":parameter/{name}")
        assert (
            deployed.emulator.client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == "{}"
        )

    def test_cluster_has_its_capacity_providers(self, deployed: Stack) -> None:
        cluster = deployed.emulator.client("ecs").describe_clusters(
            clusters=[deployed.outputs["Cluster"]]
        )["clusters"][0]
        assert sorted(cluster["capacityProviders"]) == ["FARGATE", "FARGATE_SPOT"]

    def test_stack_event_reaches_its_rule(self, deployed: Stack) -> None:
        row = eventually(lambda: deployed.row("CloudFormation Stack Status Change"))
        event = json.loads(row["event"]["S"])
        assert event["detail"]["status-details"]["status"] == "CREATE_COMPLETE"
        assert event["source"] == "aws.cloudformation"


class TestFunctions:
    def test_result(self, deployed: Stack) -> None:
        assert deployed.invoke({"key": "direct"}) == (None, {"key": "direct"})
        assert 1000 < int(deployed.row("direct")["remaining"]["N"]) <= 3000

    def test_error_has_its_class_name(self, deployed: Stack) -> None:
        error, payload = deployed.invoke({"raise": "broken"})
        assert error == "Unhandled"
        assert (payload["errorType"], payload["errorMessage"]) == ("Mine", "broken")

    def test_role_is_its_own(self, deployed: Stack) -> None:
        error, payload = deployed.invoke({"forbidden": True})
        assert error == "Unhandled"
        assert "is not authorized to perform: dynamodb:Scan" in payload["errorMessage"]

    def test_timeout(self, deployed: Stack) -> None:
        error, payload = deployed.invoke({"sleep": 30})
        assert error == "Unhandled"
        assert payload["errorType"] == "Sandbox.Timedout"
        assert "Task timed out after 3.00 seconds" in payload["errorMessage"]
        assert deployed.invoke({"key": "after"}) == (None, {"key": "after"})

    def test_process_that_ends(self, deployed: Stack) -> None:
        error, payload = deployed.invoke({"exit": True})
        assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
        assert deployed.invoke({"key": "after"}) == (None, {"key": "after"})

    def test_a_burst_is_served_by_few_workers(self, deployed: Stack) -> None:
        with ThreadPoolExecutor(8) as callers:
            answers = list(
                callers.map(deployed.invoke, [{"key": f"b{n}", "sleep": 0.2} for n in range(8)])
            )
        assert answers == [(None, {"key": f"b{n}"}) for n in range(8)]
        workers = {deployed.row(f"b{n}")["worker"]["N"] for n in range(8)}
        assert len(workers) == 2

    def test_calls_are_counted(self, deployed: Stack) -> None:
        name = deployed.outputs["Function"]
        before = deployed.emulator.fleet("GET", "stats")[1]["invocations"].get(name, 0)
        deployed.invoke({"key": "counted"})
        stats = deployed.emulator.fleet("GET", "stats")[1]
        assert stats["invocations"][name] == before + 1
        assert 30 < stats["rss_mb"] < 350

    def test_error_name_in_a_state_machine(self, deployed: Stack) -> None:
        states = deployed.emulator.client("stepfunctions")
        arn = states.start_execution(
            stateMachineArn=deployed.outputs["Machine"], input=json.dumps({"raise": "oh"})
        )["executionArn"]
        ended = deployed.emulator.ended(arn)
        assert (ended["status"], ended["error"]) == ("FAILED", "Mine")
        arn = states.start_execution(
            stateMachineArn=deployed.outputs["Machine"], input=json.dumps({"key": "machine"})
        )["executionArn"]
        assert json.loads(deployed.emulator.ended(arn)["output"]) == {"key": "machine"}


class TestEvents:
    def test_rule_invokes_and_retries_then_gives_up(self, deployed: Stack) -> None:
        deployed.publish("mine", "from-bus")
        row = eventually(lambda: deployed.row("from-bus"))
        assert json.loads(row["event"]["S"])["source"] == "mine"

    def test_rule_without_permission_does_not_invoke(self, deployed: Stack) -> None:
        deployed.publish("unpermitted", "never")
        deployed.publish("mine", "marker")
        eventually(lambda: deployed.row("marker"))
        assert deployed.row("never") == {}

    def test_failed_asynchronous_call_ends_in_the_queue(self, deployed: Stack) -> None:
        deployed.emulator.client("lambda").invoke(
            FunctionName=deployed.outputs["Function"], InvocationType="Event",
            Payload=json.dumps({"key": "async", "raise": "always"}),
        )  # fmt: skip
        sqs_client = deployed.emulator.client("sqs")

        def arrived() -> Any:
            answer = sqs_client.receive_message(QueueUrl=deployed.outputs["Failed"])
            return answer.get("Messages")

        assert "always" in eventually(arrived)[0]["Body"]

    def test_archived_events_come_again_in_a_replay(self, deployed: Stack) -> None:
        deployed.publish("mine", "archived")
        deployed.publish("unpermitted", "not-archived")
        eventually(lambda: deployed.row("archived"))
        deployed.emulator.client("dynamodb").delete_item(
            TableName=deployed.outputs["Table"], Key={"id": {"S": "archived"}}
        )
        now = datetime.now(UTC)
        deployed.emulator.client("events").start_replay(
            ReplayName="again", EventSourceArn=deployed.outputs["Archive"],
            EventStartTime=now - timedelta(minutes=5), EventEndTime=now + timedelta(minutes=5),
            Destination={"Arn": deployed.outputs["BusArn"]},
        )  # fmt: skip
        event = json.loads(eventually(lambda: deployed.row("archived"))["event"]["S"])
        assert (event["source"], event["replay-name"]) == ("mine", "again")


class TestHttpApi:
    def test_body_and_headers_reach_the_function(self, deployed: Stack) -> None:
        body = '{"é": "\\u2028", "x":   1}'.encode()
        status, answer = deployed.post(
            "/webhook?a=1&b=%20", body,
            {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=AbC"},
        )  # fmt: skip
        assert status == 201
        assert answer["version"] == "2.0"
        assert (answer["path"], answer["query"], answer["method"]) == (
            "/webhook", "a=1&b=%20", "POST",
        )  # fmt: skip
        assert answer["headers"]["x-hub-signature-256"] == "sha256=AbC"
        assert (answer["encoded"], answer["body"].encode()) == (False, body)

    def test_bytes_that_are_no_text_come_encoded(self, deployed: Stack) -> None:
        status, answer = deployed.post(
            "/webhook", b"\xff\x00", {"Content-Type": "application/octet-stream"}
        )
        assert (status, answer["encoded"]) == (201, True)
        assert base64.b64decode(answer["body"]) == b"\xff\x00"

    def test_path_parameters_and_bearer_tokens(self, deployed: Stack) -> None:
        status, answer = deployed.post(
            "/runners/fleet-1-1/claim", b"{}", {"Authorization": "Bearer abc"}
        )
        assert (status, answer["parameters"]) == (201, {"id": "fleet-1-1"})
        assert answer["headers"]["authorization"] == "Bearer abc"

    def test_function_that_fails_is_a_500(self, deployed: Stack) -> None:
        assert deployed.post("/boom", b"{}", {}) == (500, {"message": "Internal Server Error"})

    def test_api_without_permission_gets_no_answer(self, deployed: Stack) -> None:
        api = deployed.emulator.client("apigatewayv2")
        made = api.create_api(Name="foreign", ProtocolType="HTTP")["ApiId"]
        uri = deployed.emulator.client("lambda").get_function(
            FunctionName=deployed.outputs["Function"]
        )["Configuration"]["FunctionArn"]
        integration = api.create_integration(
            ApiId=made, IntegrationType="AWS_PROXY", IntegrationUri=uri, PayloadFormatVersion="2.0"
        )["IntegrationId"]
        api.create_route(ApiId=made, RouteKey="POST /webhook", Target=f"integrations/{integration}")
        api.create_stage(ApiId=made, StageName="$default", AutoDeploy=True)
        url = deployed.outputs["ApiUrl"].rsplit("/", 1)[0] + f"/{made}/webhook"
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(url, data=b"{}", timeout=PATIENCE_SECONDS)
        assert error.value.code == 500

    def caller(self, deployed: Stack, *paths: str) -> tuple[str, Credentials]:
        """A user who may post to these paths of the API: its ARN and keys."""
        api = deployed.outputs["ApiUrl"].rpartition("/")[2]
        arns = [f"arn:aws:execute-api:us-east-1:123456789012:{api}/*/POST{path}" for path in paths]
        name = f"user-{uuid.uuid4().hex[:8]}"
        iam = deployed.emulator.client("iam")
        arn = iam.create_user(UserName=name)["User"]["Arn"]
        allowed = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": arns}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return arn, Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def signed(
        self, deployed: Stack, path: str, keys: Credentials, **changed: str
    ) -> tuple[int, Any]:
        request = AWSRequest("POST", deployed.outputs["ApiUrl"] + path, data=b"{}")
        SigV4Auth(keys, "execute-api", "us-east-1").add_auth(request)
        return deployed.post(path, b"{}", {**dict(request.headers), **changed})

    def test_a_route_with_iams_authorizer_says_who_asks(self, deployed: Stack) -> None:
        arn, keys = self.caller(deployed, "/signed/*")
        status, answer = self.signed(deployed, "/signed/x", keys)
        assert (status, answer["parameters"]) == (201, {"id": "x"})
        assert answer["authorizer"]["iam"]["userArn"] == arn
        assert deployed.post("/webhook", b"{}", {})[1]["authorizer"] is None

    def test_who_may_not_invoke_it_is_told_no_more(self, deployed: Stack) -> None:
        forbidden = (403, {"message": "Forbidden"})
        _, keys = self.caller(deployed, "/signed/a", "/webhook")
        stranger = Credentials("AKIAUNKNOWN", "secret")
        wrong = Credentials(keys.access_key, "another secret")
        assert self.signed(deployed, "/signed/a", keys)[0] == 201
        assert self.signed(deployed, "/signed/b", keys) == forbidden
        assert self.signed(deployed, "/signed/a", wrong) == forbidden
        assert self.signed(deployed, "/signed/a", stranger) == forbidden
        late = {"X-Amz-Date": "20260101T000000Z"}
        assert self.signed(deployed, "/signed/a", keys, **late) == forbidden
        assert deployed.post("/signed/a", b"{}", {}) == forbidden
        bearer = {"Authorization": "Bearer abc"}
        assert deployed.post("/signed/a", b"{}", bearer) == forbidden

    def test_unknown_route(self, deployed: Stack) -> None:
        assert deployed.post("/nothing", b"{}", {}) == (404, {"message": "Not Found"})


_BUILD = {
    "BASE_IMAGE": "ubuntu",
    "RUNNER_VERSION": "2.338.0",
    "RECIPE_DIGEST": "0123",
    "ARCHITECTURE": "X86_64",
}


class TestBuilds:
    def start(
        self, deployed: Stack, tag: str, *, token: str = "", **variables: str
    ) -> dict[str, Any]:
        build: dict[str, Any] = deployed.emulator.client("codebuild").start_build(
            projectName=deployed.outputs["Project"],
            environmentVariablesOverride=[
                {"name": name, "value": value, "type": "PLAINTEXT"}
                for name, value in {**_BUILD, "IMAGE_TAG": tag, **variables}.items()
            ],
            **({"idempotencyToken": token} if token else {}),
        )["build"]
        return build

    def exported(self, deployed: Stack, build: dict[str, Any]) -> dict[str, str]:
        api = deployed.emulator.client("codebuild")
        found = api.batch_get_builds(ids=[build["id"]])["builds"][0]
        return {one["name"]: one["value"] for one in found["exportedEnvironmentVariables"]}

    def ended(self, deployed: Stack, build: dict[str, Any]) -> str:
        api = deployed.emulator.client("codebuild")

        def status() -> Any:
            found = api.batch_get_builds(ids=[build["id"]])["builds"][0]["buildStatus"]
            return found if found != "IN_PROGRESS" else None

        return str(eventually(status))

    def test_a_base_is_pulled_by_the_builds_own_role(self, deployed: Stack) -> None:
        registry, _, own = deployed.outputs["Repository"].partition("/")
        may = self.start(deployed, "mine-1", BASE_IMAGE=f"{registry}/{own}:1")
        may_not = self.start(deployed, "theirs-1", BASE_IMAGE=f"{registry}/payments:latest")
        assert self.ended(deployed, may) == "SUCCEEDED"
        assert self.ended(deployed, may_not) == "FAILED"
        api = deployed.emulator.client("codebuild")
        [build] = api.batch_get_builds(ids=[may_not["id"]])["builds"]
        [told] = [one for phase in build["phases"] for one in phase.get("contexts", [])]
        assert "not authorized to perform: ecr:BatchCheckLayerAvailability" in told["message"]
        assert told["message"].count("repository/payments") == 1

    def test_success_leaves_an_image_and_two_events(self, deployed: Stack) -> None:
        from tests.local.emulator.test_tasks import Events  # noqa: PLC0415

        queue = Events(deployed.emulator, {"source": ["aws.codebuild"], "detail": {
            "project-name": [deployed.outputs["Project"]]}})  # fmt: skip
        build = self.start(deployed, "good-1")
        assert build["buildStatus"] == "IN_PROGRESS"
        assert self.ended(deployed, build) == "SUCCEEDED"
        exported = self.exported(deployed, build)
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", exported["BASE_DIGEST"])
        assert re.fullmatch(r"good-[0-9a-f]{24}", exported["CONTENT_TAG"])
        image = deployed.emulator.client("ecr").describe_images(
            repositoryName=deployed.outputs["RepositoryName"],
            imageIds=[{"imageTag": exported["CONTENT_TAG"]}],
        )["imageDetails"][0]
        assert image["imageDigest"].startswith("sha256:")
        first, last = queue.details(2)
        assert (first["build-status"], last["build-status"]) == ("IN_PROGRESS", "SUCCEEDED")
        assert last["build-id"] == build["arn"]
        information = last["additional-information"]
        assert information["environment"]["environment-variables"] == []
        assert information["logs"]["deep-link"].startswith("https://console.aws.amazon.com/")

    def test_content_tag_is_that_of_the_content(self, deployed: Stack) -> None:
        def tag(**variables: str) -> str:
            build = self.start(deployed, "same-1", **variables)
            assert self.ended(deployed, build) == "SUCCEEDED"
            return self.exported(deployed, build)["CONTENT_TAG"]

        first = tag()
        assert tag() == first
        others = {tag(BASE_IMAGE="debian"), tag(RUNNER_VERSION="2.339.0"), tag(RECIPE_DIGEST="x")}
        assert len(others | {first}) == 4

    def test_the_same_token_is_the_same_build(self, deployed: Stack) -> None:
        api = deployed.emulator.client("codebuild")
        first = self.start(deployed, "once-1", token="t")
        assert self.start(deployed, "once-1", token="t")["id"] == first["id"]
        assert self.start(deployed, "once-1", token="u")["id"] != first["id"]
        with pytest.raises(api.exceptions.InvalidInputException, match="other parameters"):
            self.start(deployed, "once-2", token="t")

    def test_base_that_does_not_exist(self, deployed: Stack) -> None:
        build = self.start(deployed, "bad-1", BASE_IMAGE="docker.io/does-not-exist/x:1")
        assert self.ended(deployed, build) == "FAILED"
        with pytest.raises(deployed.emulator.client("ecr").exceptions.ImageNotFoundException):
            deployed.emulator.client("ecr").describe_images(
                repositoryName=deployed.outputs["RepositoryName"], imageIds=[{"imageTag": "bad-1"}]
            )

    def test_scripted_outcomes(self, deployed: Stack) -> None:
        fault = {"on": "build", "outcome": "TIMED_OUT", "match": "slow-1"}
        deployed.emulator.fleet("POST", "faults", fault)
        assert self.ended(deployed, self.start(deployed, "slow-1")) == "TIMED_OUT"
        assert self.ended(deployed, self.start(deployed, "slow-1")) == "SUCCEEDED"

    def test_build_that_hangs_can_be_stopped(self, deployed: Stack) -> None:
        deployed.emulator.fleet("POST", "faults", {"on": "build", "outcome": "hangs"})
        build = self.start(deployed, "stuck-1")
        deployed.emulator.client("codebuild").stop_build(id=build["id"])
        assert self.ended(deployed, build) == "STOPPED"

    def test_task_of_the_built_image_can_start(self, deployed: Stack) -> None:
        api = deployed.emulator.client("ecs")
        build = self.start(deployed, "task-1")
        assert self.ended(deployed, build) == "SUCCEEDED"
        image = deployed.emulator.client("ecr").describe_images(
            repositoryName=deployed.outputs["RepositoryName"],
            imageIds=[{"imageTag": self.exported(deployed, build)["CONTENT_TAG"]}],
        )["imageDetails"][0]
        uri = f"{deployed.outputs['Repository']}@{image['imageDigest']}"
        pulling = {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}
        api.register_task_definition(
            family="built",
            executionRoleArn=deployed.emulator.role([pulling], service="ecs-tasks"),
            containerDefinitions=[{"name": "runner", "image": uri}],
        )
        arns = {
            family: api.run_task(cluster=deployed.outputs["Cluster"], taskDefinition=family)[
                "tasks"
            ][0]["taskArn"]
            for family in ("built", deployed.outputs["Task"])
        }

        def stopped(arn: str) -> Any:
            task = api.describe_tasks(cluster=deployed.outputs["Cluster"], tasks=[arn])["tasks"][0]
            return task if task["lastStatus"] == "STOPPED" else None

        codes = [eventually(functools.partial(stopped, arn))["stopCode"] for arn in arns.values()]
        assert codes == ["EssentialContainerExited", "TaskFailedToStart"]

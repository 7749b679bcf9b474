"""Deploys a cloud assembly into the emulator as the CDK CLI deploys it to AWS."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError

from cdk_runner_fleet.local.errors import LocalFleetError

__all__ = ["bootstrap", "deploy"]

_BUCKET = "cdk-hnb659fds-assets-{account}-{region}"
_BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
_BOOTSTRAP_VERSION = "30"  # at least what any current template asks for
_CHANGED_NOTHING = "No updates are to be performed."
_DEPLOY_SECONDS = 120.0
_POLL_SECONDS = 0.03


class Clients(Protocol):
    """Where boto3 clients come from."""

    def client(self, service: str) -> Any:
        """A client of an AWS service."""


def bootstrap(clients: Clients, *, account: str, region: str) -> None:
    """What `cdk bootstrap` leaves in an account, as far as a deployment needs it."""
    bucket = _BUCKET.format(account=account, region=region)
    clients.client("s3").create_bucket(Bucket=bucket)
    clients.client("ssm").put_parameter(
        Name=_BOOTSTRAP_PARAMETER, Value=_BOOTSTRAP_VERSION, Type="String", Overwrite=True
    )


def deploy(
    clients: Clients, assembly: Path, *, stack: str, parameters: Mapping[str, str]
) -> dict[str, str]:
    """Upload the assets of `stack` and create it, or update the one of that name.

    Args:
        clients: Clients with an administrator's credentials.
        assembly: A cloud assembly (`cdk.out`).
        stack: The stack's name.
        parameters: The template's parameters that have no default.

    Returns:
        Its outputs.

    Raises:
        LocalFleetError: the stack could not be created or updated; names the resources and
            reasons.
    """
    template_url = _upload(clients, assembly, stack=stack)
    cloudformation = clients.client("cloudformation")
    there = _described(cloudformation, stack)
    put = cloudformation.update_stack if there else cloudformation.create_stack
    try:
        put(
            StackName=stack,
            TemplateURL=template_url,  # as a body it would be longer than CloudFormation takes
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
    except ClientError as error:
        if there is None or error.response["Error"]["Message"] != _CHANGED_NOTHING:
            raise
    deadline = time.monotonic() + _DEPLOY_SECONDS
    while True:
        found = _described(cloudformation, stack)
        status = found["StackStatus"]
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
        if not status.endswith("IN_PROGRESS") or time.monotonic() > deadline:
            raise LocalFleetError(
                f"the stack did not deploy, it is {status}:\n" + _failures(cloudformation, stack)
            )
        time.sleep(_POLL_SECONDS)


def _described(cloudformation: Any, stack: str) -> Any:
    """What CloudFormation says of the stack; None if there is none."""
    try:
        return cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise


def _upload(clients: Clients, assembly: Path, *, stack: str) -> str:
    """Upload what the stack's asset manifest lists; returns the URL of the template among it."""
    s3, template_url = clients.client("s3"), ""
    manifest = (assembly / f"{stack}.assets.json").read_text()
    # a stack for any account and region leaves them to whoever deploys it
    for place, value in {
        "${AWS::AccountId}": clients.client("sts").get_caller_identity()["Account"],
        "${AWS::Region}": s3.meta.region_name,
    }.items():
        manifest = manifest.replace(place, value)
    for asset in json.loads(manifest)["files"].values():
        path = assembly / asset["source"]["path"]
        body = _zip(path) if asset["source"]["packaging"] == "zip" else path.read_bytes()
        for destination in asset["destinations"].values():
            bucket, key = destination["bucketName"], destination["objectKey"]
            s3.put_object(Bucket=bucket, Key=key, Body=body)
            if path.name == f"{stack}.template.json":
                template_url = f"https://s3.{s3.meta.region_name}.amazonaws.com/{bucket}/{key}"
    return template_url


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    # stored, not deflated: it goes to the same machine
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def _failures(cloudformation: Any, stack: str) -> str:
    """What failed since the stack was last asked for something."""
    failures: list[str] = []
    for event in cloudformation.describe_stack_events(StackName=stack)["StackEvents"]:
        name, status = event["LogicalResourceId"], event["ResourceStatus"]
        if name == stack and status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"):
            break
        if status.endswith("FAILED"):
            reason = event.get("ResourceStatusReason", "no reason given")
            failures.insert(0, f"{name}: {reason}")
    return "\n".join(failures)

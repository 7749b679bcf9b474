"""What is granted to a class its jobs may do, and other classes' jobs may not."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from cdk_runner_fleet.local import assembly
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.workflows import read_workflow
from tests import settings
from tests.waiting import until

from . import granted_stack
from .conftest import Fleet

READ = dedent("""
    import json, sys
    import boto3, botocore.exceptions
    told, *buckets = sys.argv[1:]
    found = []
    for bucket in buckets:
        try:
            s3 = boto3.client("s3", region_name="us-east-1")
            found.append(s3.get_object(Bucket=bucket, Key="it")["Body"].read().decode())
        except botocore.exceptions.ClientError as error:
            found.append(error.response["Error"]["Code"])
    with open(told, "w") as file:
        json.dump(found, file)
""")


@pytest.fixture(scope="module")
def granted() -> Iterator[Fleet]:
    """Two classes, all jobs of which may read a bucket, and those of the one another as well."""
    # assemblies are kept by their settings, and the stack is not among the sources
    text = Path(granted_stack.__file__).read_bytes()
    context = {**settings.GRANTED, "granted-stack": hashlib.sha256(text).hexdigest()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(assembly, "_SYNTH", granted_stack.__name__)
        patched.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        with LocalFleet(context=context) as local:
            yield Fleet(local)


def test_a_job_reads_the_bucket_of_its_class_and_of_no_other(
    granted: Fleet, tmp_path: Path
) -> None:
    local = granted.local
    assert local.twin
    buckets = [local.outputs[name] for name in ("BucketOfAll", "BucketOfHuge")]
    for bucket in buckets:
        local.client("s3").put_object(Bucket=bucket, Key="it", Body=b"read")
    script = tmp_path / "read.py"
    script.write_text(READ)
    jobs = {
        name: {
            "runs-on": ["self-hosted", f"class:{name}"],
            "steps": [
                {"run": " ".join([sys.executable, str(script), str(tmp_path / name), *buckets])}
            ],
        }
        for name in ("small", "huge")
    }
    run = local.twin.board.queue_run(
        read_workflow(json.dumps({"on": "push", "jobs": jobs}), file_name="ci.yml"),
        file_name="ci.yml",
        workspace=None,
        protected_environments=frozenset(),
    )
    until(lambda: run.status == "completed", "both jobs have run")
    assert {job.spec.key: job.conclusion for job in run.jobs} == {
        "small": "success",
        "huge": "success",
    }
    read = {name: json.loads((tmp_path / name).read_text()) for name in jobs}
    assert read == {"small": ["read", "AccessDenied"], "huge": ["read", "read"]}
    roles = {}
    for job in run.jobs:
        row = granted.status(f"fleet-{job.id}-1", "OFFLINE")
        # a task that was stopped has no tags any more
        history = local.client("stepfunctions").get_execution_history(
            executionArn=row["execution_arn"]
        )
        asked = [event.get("taskScheduledEventDetails", {}) for event in history["events"]]
        task = json.loads(
            next(one["parameters"] for one in asked if one.get("resource") == "runTask")
        )
        roles[job.spec.key] = task["Overrides"].get("TaskRoleArn", "")
        assert any(tag["Key"] == "team" for tag in task["Tags"]) == (job.spec.key == "huge")
    assert roles["small"] == ""
    assert "ClasseshugeTaskRole" in roles["huge"]


def test_jobs_of_a_class_share_its_file_system_and_others_have_none(
    granted: Fleet, tmp_path: Path
) -> None:
    local = granted.local
    assert local.twin
    seen = tmp_path / "seen"
    cache = '"$RUNNER_HOME/mnt/cache/it"'
    script = f"cat {cache} >> {seen} || echo first >> {seen}; echo left > {cache}"
    jobs = {
        "first": {"runs-on": ["self-hosted", "class:huge"], "steps": [{"run": script}]},
        "next": {
            "needs": "first",
            "runs-on": ["self-hosted", "class:huge"],
            "steps": [{"run": script}],
        },
        "other": {
            "needs": "next",
            "runs-on": ["self-hosted", "class:small"],
            "steps": [{"run": f'ls "$RUNNER_HOME/mnt" >> {seen} || echo none >> {seen}'}],
        },
    }
    run = local.twin.board.queue_run(
        read_workflow(json.dumps({"on": "push", "jobs": jobs}), file_name="ci.yml"),
        file_name="ci.yml",
        workspace=None,
        protected_environments=frozenset(),
    )
    until(lambda: run.status == "completed", "the jobs have run")
    assert [job.conclusion for job in run.jobs] == ["success"] * 3
    assert seen.read_text().split() == ["first", "left", "none"]
    families = local.client("ecs").list_task_definition_families(status="ACTIVE")["families"]
    [mounted] = [name for name in families if "default-" in name and "-mounts-" in name]
    made = local.client("ecs").describe_task_definition(taskDefinition=mounted)["taskDefinition"]
    [volume] = made["volumes"]
    assert volume["efsVolumeConfiguration"]["authorizationConfig"]["iam"] == "ENABLED"


def test_its_cluster_bus_key_and_execution_role_were_there_before(granted: Fleet) -> None:
    """The jobs above ran in them, from their deliveries on."""
    local = granted.local
    assert "Shared" in local.outputs["ClusterName"]
    assert "OurBus" in local.outputs["EventBusName"]
    assert "FleetExecution" not in local.outputs["ExecutionRoleArn"]
    [archive] = local.client("events").list_archives()["Archives"]
    assert archive["EventSourceArn"] == local.outputs["EventBusArn"]
    [logs] = local.client("logs").describe_log_groups(
        logGroupNamePrefix=local.outputs["FunctionLogGroupName"]
    )["logGroups"]
    assert ":key/" in logs["kmsKeyId"]

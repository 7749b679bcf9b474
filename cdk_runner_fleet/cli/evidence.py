"""Collects what the fleet, AWS and GitHub know of a job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, explain
from cdk_runner_fleet.cli.references import JobReference
from cdk_runner_fleet.cli.rows import Row, plain_row, public_row
from cdk_runner_fleet.cli.timeline import Evidence, shown
from cdk_runner_fleet.history import read_steps

__all__ = ["collect"]

# together with a runner that was named, at most the 100 keys that one BatchGetItem takes
_ATTEMPTS = range(1, 17)
_REPLACEMENTS = ("", "-r1", "-r2", "-r3", "-r4", "-r5")

Found = TypeVar("Found")


def collect(deployment: Deployment, reference: JobReference) -> Evidence:
    """Everything that can be read; what cannot is said in `unknown`.

    Raises:
        FleetError: if there is no such fleet.
        botocore.exceptions.ClientError: if its table of runners cannot be read.
    """
    return _Collector(deployment, reference).collect()


class _Collector:
    def __init__(self, deployment: Deployment, reference: JobReference) -> None:
        self._deployment = deployment
        self._reference = reference
        self._unknown: list[str] = []

    def collect(self) -> Evidence:
        rows = self._rows(_candidates(self._reference, self._deployment.runner_name_prefix))
        github = self._ask_github(rows)
        ran_on = github.get("runner_name")
        if ran_on and all(row["runner_id"] != ran_on for row in rows):
            # GitHub gives a job to any runner that has its labels
            rows += self._rows([ran_on])
        rows.sort(key=lambda row: (row.get("timestamp", 0), row["runner_id"]))
        return Evidence(
            job_id=self._reference.job_id,
            rows=rows,
            images=self._images(rows),
            tasks=dict(self._tasks(rows)),
            steps={
                row["runner_id"]: self._steps(row["execution_arn"])
                for row in rows
                if "execution_arn" in row
            },
            github=github,
            read_at=time.time(),
            unknown=self._unknown,
        )

    def _rows(self, runner_ids: Sequence[str]) -> list[Row]:
        table = self._deployment.runner_table
        keys = [{"runner_id": {"S": each}} for each in runner_ids]
        request: Any = {table: {"Keys": keys, "ConsistentRead": True}}
        found: list[Row] = []
        while request:
            answer = self._deployment.client("dynamodb").batch_get_item(RequestItems=request)
            found += (public_row(plain_row(item)) for item in answer["Responses"].get(table, []))
            request = answer.get("UnprocessedKeys")
        return found

    def _ask_github(self, rows: Sequence[Row]) -> dict[str, Any]:
        repository = self._reference.repository or next(
            (row["repository"] for row in rows if row.get("repository")), ""
        )
        if self._reference.job_id is None:
            return {"error": "the runner was started for no job"}
        if not repository:
            return {"error": "which repository the job is in is not known, give the job's URL"}
        try:
            answer = self._deployment.client("lambda").invoke(
                FunctionName=self._deployment.explain_function,
                Payload=json.dumps({"job_id": self._reference.job_id, "repository": repository}),
            )
        except (BotoCoreError, ClientError) as error:
            return {"error": explain(error)}
        except FleetError as error:
            return {"error": str(error)}
        payload: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            return {"error": f"explain_job failed: {shown(payload.get('errorMessage'))}"}
        return payload

    def _images(self, rows: Sequence[Row]) -> dict[str, Row]:
        tags = sorted({row["image_tag"] for row in rows if row.get("image_tag")})
        read = self._tried("images", lambda: list(self._read_images(tags)))
        return {row["image_tag"]: row for row in read or ()}

    def _read_images(self, tags: Sequence[str]) -> Iterator[Row]:
        for tag in tags:
            answer = self._deployment.client("dynamodb").get_item(
                TableName=self._deployment.image_table, Key={"image_tag": {"S": tag}}
            )
            if "Item" in answer:
                yield plain_row(answer["Item"])

    def _tasks(self, rows: Sequence[Row]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """ECS's own words; it forgets a task an hour after it stopped."""
        runners = {row["task_id"]: row["runner_id"] for row in rows if row.get("task_id")}
        if not runners:
            return
        answer = self._tried(
            "tasks",
            lambda: self._deployment.client("ecs").describe_tasks(
                cluster=self._deployment.cluster, tasks=list(runners)
            ),
        )
        for task in answer["tasks"] if answer else ():
            yield runners[task["taskArn"]], task

    def _steps(self, execution_arn: str) -> list[Any]:
        states = self._deployment.client("stepfunctions")
        return self._tried("history", lambda: read_steps(states, execution_arn)) or []

    def _tried(self, what: str, read: Callable[[], Found]) -> Found | None:
        """What `read` returns; if it cannot, that is noted, and the rest is shown without it."""
        try:
            return read()
        except (BotoCoreError, ClientError) as error:
            self._unknown.append(f"{what}: {explain(error)}")
        except FleetError as error:
            self._unknown.append(f"{what}: {error}")
        return None


def _candidates(reference: JobReference, prefix: str) -> list[str]:
    """The ids that the runners of a job can have."""
    named = [reference.runner_id] if reference.runner_id else []
    possible = [
        f"{prefix}-{reference.job_id}-{attempt}{replacement}"
        for attempt in _ATTEMPTS
        for replacement in _REPLACEMENTS
        if reference.job_id is not None
    ]
    return list(dict.fromkeys((*named, *possible)))

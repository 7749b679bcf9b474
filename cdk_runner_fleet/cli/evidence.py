"""Collects what the fleet, AWS and GitHub know of a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, explain
from cdk_runner_fleet.cli.line import places, with_reasons
from cdk_runner_fleet.cli.references import JobReference
from cdk_runner_fleet.cli.rows import HEARD, Row, plain_row, public_row
from cdk_runner_fleet.cli.timeline import Evidence
from cdk_runner_fleet.history import read_steps
from cdk_runner_fleet.runner_name import followed, heartbeat_key, make_name, read_heartbeat_key

__all__ = ["collect"]

# of each attempt six names at once: with a runner that was named, at most the 100 keys that one
# BatchGetItem takes
_ATTEMPTS = range(1, 17)
_AT_ONCE = 6
_MOST_HEARD = 100  # keys that one BatchGetItem takes

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
        rows = self._own_rows()
        github = self._ask_github(rows)
        ran_on = github.get("runner_name")
        if ran_on and all(row["runner_id"] != ran_on for row in rows):
            # GitHub gives a job to any runner that has its labels
            rows += self._rows([ran_on])
        rows = self._heard(self._waiting(rows))
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
            places=self._places(rows),
            github=github,
            read_at=time.time(),
            unknown=self._unknown,
        )

    def _own_rows(self) -> list[Row]:
        """The rows of the runner that was named, and of all that were started for the job."""
        asked = [self._reference.runner_id] if self._reference.runner_id else []
        following = _names(self._reference, self._deployment.runner_name_prefix)
        found: dict[str, Row] = {}
        while asked or following:
            chunks = [list(islice(names, _AT_ONCE)) for names in following]
            asked += chain.from_iterable(chunks)
            found |= {row["runner_id"]: row for row in self._rows(list(dict.fromkeys(asked)))}
            asked = []
            # a runner follows one that there is
            following = [
                names
                for names, chunk in zip(following, chunks, strict=True)
                if chunk and chunk[-1] in found
            ]
        return list(found.values())

    def _rows(self, runner_ids: Sequence[str]) -> list[Row]:
        table = self._deployment.runner_table
        keys = [{"runner_id": {"S": each}} for each in runner_ids]
        request: Any = {table: {"Keys": keys, "ConsistentRead": True}} if keys else None
        found: list[Row] = []
        while request:
            answer = self._deployment.client("dynamodb").batch_get_item(RequestItems=request)
            found += (public_row(plain_row(item)) for item in answer["Responses"].get(table, []))
            request = answer.get("UnprocessedKeys")
        return found

    def _heard(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, each with the last heartbeat of its runner."""
        last = self._rows([heartbeat_key(row["runner_id"]) for row in rows[-_MOST_HEARD:]])
        heard = {
            read_heartbeat_key(one["runner_id"]): {name: one[name] for name in HEARD if name in one}
            for one in last
        }
        return [row | heard.get(row["runner_id"], {}) for row in rows]

    def _ask_github(self, rows: Sequence[Row]) -> dict[str, Any]:
        repository = self._reference.repository or next(
            (row["repository"] for row in rows if row.get("repository")), ""
        )
        if self._reference.job_id is None:
            return {"error": "the runner was started for no job"}
        if not repository:
            return {"error": "which repository the job is in is not known, give the job's URL"}
        try:
            return self._deployment.ask_explain_job(
                {"job_id": self._reference.job_id, "repository": repository}
            )
        except (BotoCoreError, ClientError) as error:
            return {"error": explain(error)}
        except FleetError as error:
            return {"error": str(error)}

    def _waiting(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows, those in line with why they wait now."""
        return self._tried("why it waits now", lambda: with_reasons(self._deployment, rows)) or rows

    def _places(self, rows: Sequence[Row]) -> Mapping[str, int]:
        if not any(row.get("waiting_for") == "turn" for row in rows):
            return {}
        return self._tried("places in line", lambda: places(self._deployment)) or {}

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


def _names(reference: JobReference, prefix: str) -> list[Iterator[str]]:
    """The names that the runners of a job can have, by attempt."""
    if reference.job_id is None:
        return []
    return [
        followed(make_name(prefix=prefix, job_id=reference.job_id, attempt=attempt))
        for attempt in _ATTEMPTS
    ]

"""How a person names a job: its page at GitHub, its id, or the id of its runner."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdk_runner_fleet.cli.errors import FleetError
from cdk_runner_fleet.runner_name import read_name

__all__ = ["JobReference", "read_reference"]

_HOST = r"https?://[^/?#\s]+(?:/api/v3)?(?:/repos)?"
# ``values.github.REPOSITORY``, which is dear to import
REPOSITORY = (
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/"
    r"(?!\.{1,2}(?:/|\Z))(?![^/]*\.git(?:/|\Z))[A-Za-z0-9._-]{1,100}"
)
_REPOSITORY = rf"(?P<repository>{REPOSITORY})"
_REST = r"/?(?:[?#]\S*)?"
# the job's page, its page in an attempt of the run, the check run's page (a job is its check run,
# under the same id) and the REST API's
_JOB = re.compile(
    rf"{_HOST}/{_REPOSITORY}/(?:actions/(?:runs/\d+/(?:attempts/\d+/)?)?jobs?|runs)/(?P<job>\d+){_REST}"
)
_RUN = re.compile(rf"{_HOST}/{_REPOSITORY}/actions/runs/\d+(?:/\S*)?{_REST}")
_RUNNER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class JobReference:
    """A job, as far as it was named.

    Attributes:
        job_id: GitHub's id of it; None if a runner was named that was started for none.
        repository: `owner/name`; empty if only an id was given.
        runner_id: The runner that was named; empty if none was.
    """

    job_id: int | None
    repository: str = ""
    runner_id: str = ""

    def __str__(self) -> str:
        return f"job {self.job_id}" if self.job_id else f"runner {self.runner_id}"


def read_reference(text: str) -> JobReference:
    """Read what a person typed; raises FleetError (2) with the forms that there are."""
    if match := _JOB.fullmatch(text):
        return JobReference(job_id=int(match["job"]), repository=match["repository"])
    if _RUN.fullmatch(text):
        raise FleetError(
            f"{text} is a workflow run: open the job in it and give that page's URL", exit_code=2
        )
    if text.isascii() and text.isdigit():
        return JobReference(job_id=int(text))
    if _RUNNER.fullmatch(text):
        name = read_name(text)
        return JobReference(job_id=name.job_id if name else None, runner_id=text)
    raise FleetError(
        f"{text!r} names no job: give the URL of the job's page "
        "(https://github.com/owner/repo/actions/runs/1/job/2), its id, or a runner's id",
        exit_code=2,
    )

"""One job's story, told from what the fleet, AWS and GitHub know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdk_runner_fleet.cli.remedies import capacity_remedy, cause_of
from cdk_runner_fleet.cli.rows import Row
from cdk_runner_fleet.history import Step

__all__ = ["Entry", "Evidence", "Verdict", "judge", "tell"]

_ACTIONS = {"queued": "queued_at", "in_progress": "started_at", "completed": "completed_at"}
"""Deliveries, and when GitHub says that what they tell of happened."""
_TOLD_AS = {
    "check_run": "its author was told with a check run on the commit",
    "commit_status": "its author was told with a commit status",
    "log": "its author could not be told at GitHub, see the log of explain_job",
}
_LATE_SECONDS = 60
"""What a delivery may take before it is worth a word; half of GitHub's take 2 s."""
_SILENT_SECONDS = 300
"""What a runner may be silent for before it is worth a word: then the lifecycle asks GitHub too."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that happened.

    Attributes:
        at: Epoch seconds.
        source: Who knows: `github`, `webhook`, `fleet`, `image`, `task`, `runner` or `state`.
        what: What it was.
        runner_id: The runner that it happened to; empty if it happened to the job.
        seconds: How long it took; None for a moment, and for what goes on.
    """

    at: float
    source: str
    what: str
    runner_id: str = ""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of a job.

    Attributes:
        job_id: GitHub's id; None if only a runner was named.
        rows: Rows of the runners started for it and of the one that ran it, oldest first.
        images: Rows of the images that those needed, by tag.
        tasks: ECS's own words on their tasks, by runner.
        steps: What their executions went through, by runner.
        places: Places in line of those that wait for their turn, by runner.
        github: What GitHub says of the job, or `error`, why it does not say.
        read_at: When all of this was read, epoch seconds.
        unknown: What could not be read, and why.
    """

    job_id: int | None
    rows: Sequence[Row]
    images: Mapping[str, Row] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    steps: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    github: Mapping[str, Any] = field(default_factory=dict)
    read_at: float = 0
    unknown: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the job stands, in one sentence, and what to do about it."""

    sentence: str
    remedy: str


def tell(evidence: Evidence) -> list[Entry]:
    """The one timeline, oldest first.

    Rows have whole seconds: within one, things stand in the order in which they lead to each other.
    """
    entries = [entry for row in evidence.rows for entry in _row(row, evidence)]
    entries += _github(evidence)
    # the rows of replacements repeat what happened to the job
    return sorted(dict.fromkeys(entries), key=lambda entry: int(entry.at))


def judge(evidence: Evidence) -> Verdict:
    """The verdict."""
    if evidence.github.get("status") == "completed":
        return _over(evidence)
    ran_on = evidence.github.get("runner_name")
    if evidence.github.get("status") == "in_progress" and ran_on:
        # GitHub gives a job to any runner that has its labels, and its own may be in line still
        runners = [row for row in evidence.rows if row["runner_id"] == ran_on]
        return _running(runners[0] if runners else {"runner_id": ran_on}, evidence)
    own = [row for row in evidence.rows if _is_about(row, evidence.job_id)]
    if not own:
        others = [row["runner_id"] for row in evidence.rows]
        return Verdict(
            sentence=f"GitHub gave its runner {', '.join(others)} another job.",
            remedy="Nothing: reconciliation starts another runner while the job is queued.",
        )
    return _standing(own[-1], evidence)


def _row(row: Row, evidence: Evidence) -> Iterator[Entry]:
    """What one row tells, in the order in which the one leads to the other."""
    runner_id = row["runner_id"]
    yield from _entries(_asked(row, evidence))
    for step in evidence.steps.get(runner_id, ()):
        yield Entry(
            at=step.entered_at,
            source="state",
            what=step.state,
            runner_id=runner_id,
            seconds=None if step.left_at is None else round(step.left_at - step.entered_at, 3),
        )
    yield from _image(row, evidence.images.get(row.get("image_tag", "")))
    yield from _entries(_booted(row), runner_id)
    yield from _task(row, evidence.tasks.get(runner_id, {}))
    yield from _entries(_ran(row, evidence.job_id))
    yield from _entries(_left(row), runner_id)


Moment = tuple[Any, str, str]
"""When (None or 0: never), who knows, and what."""


def _entries(moments: Iterator[Moment], runner_id: str = "") -> Iterator[Entry]:
    for at, source, what in moments:
        if at:
            yield Entry(at=float(at), source=source, what=what, runner_id=runner_id)


def _asked(row: Row, evidence: Evidence) -> Iterator[Moment]:
    """How the job was queued, and what was decided on it."""
    runner_id = row["runner_id"]
    if _is_about(row, evidence.job_id):
        yield row.get("queued_at"), "github", f"job {row.get('job_name', '')!r} is queued"
    yield _delivery(row, "queued")
    if row.get("in_line_at") or row.get("waiting_for") == "turn":
        yield row.get("in_line_at") or row.get("timestamp"), "fleet", _line(row, evidence)
    if row.get("error") == "Job.CannotBeServed":
        yield row.get("timestamp"), "fleet", f"refused: {row.get('cause', '')}"
    elif "execution_arn" in row:
        yield (
            row.get("timestamp"),
            "fleet",
            f"admitted: {runner_id} is started, class {row.get('class_name', '?')}, "
            f"image {row.get('image_tag', '?')}",
        )
    elif row.get("ran_on"):
        yield row.get("timestamp"), "fleet", f"not started: the job ran on {row['ran_on']}"


def _booted(row: Row) -> Iterator[Moment]:
    task = str(row.get("task_id", "")).rpartition("/")[2]
    provider = row.get("capacity_provider", "?")
    yield row.get("launched_at"), "task", f"task {task} launched on {provider}"
    yield row.get("claimed_at"), "runner", f"booted and registered at GitHub{_declared(row)}"


def _declared(row: Row) -> str:
    """What the runner said of itself with its claim; those of older images say nothing."""
    version = f"runner {row['runner_version']}" if row.get("runner_version") else ""
    words = str(row.get("capabilities", "")).replace(",", ", ")
    said = " with ".join(filter(None, (version, words)))
    return f": {said}" if said else ""


def _ran(row: Row, job_id: int | None) -> Iterator[Moment]:
    runner_id, name = row["runner_id"], repr(row.get("job_name", ""))
    started = f"job {name} started on {runner_id}"
    other = f"{runner_id} was given another job: {name}"
    yield row.get("started_at"), "github", started if _is_about(row, job_id) else other
    yield _delivery(row, "in_progress")
    foreign = f"job {row.get('foreign_job_id')} of {row.get('foreign_repository')}"
    chosen = f"an image that a job of {row.get('asked_by')} chose, and not it"
    yield row.get("foreign_at"), "fleet", f"{foreign} runs in {chosen}"
    if "completed_at" not in row:
        load = f", its load was {row['load']}" if "load" in row else ""
        yield row.get("last_heartbeat"), "runner", f"{runner_id} was last heard of{load}"
    yield row.get("hook_started_at"), "runner", f"{runner_id} says that a job has started"
    yield row.get("completed_at"), "github", f"job ended: {row.get('job_status', '?')}"
    yield _delivery(row, "completed")


def _left(row: Row) -> Iterator[Moment]:
    """How the runner ended, and what was done about it."""
    yield row.get("stopped_at"), "task", row.get("stopped_reason", "the task stopped")
    yield row.get("released_at"), "fleet", "the runner is not wanted any more"
    yield (
        row.get("removed_at"),
        "fleet",
        "GitHub knew of no job on the runner: it was removed there",
    )
    if row.get("error") != "Job.CannotBeServed":
        yield row.get("ended_at"), "fleet", _end(row)
    yield row.get("lost_at"), "fleet", "reconciliation found the job lost"
    yield row.get("rerun_requested_at"), "fleet", "reconciliation asked GitHub to run it again"
    told_as = str(row.get("explained_as", ""))
    told_at = row.get("given_up_at") or row.get("explained_at")
    yield told_at, "fleet", _TOLD_AS.get(told_as, told_as)
    left_to = row.get("left_to")
    yield row.get("left_at"), "fleet", f"left to {left_to}, which has all of the job's labels"
    yield row.get("taken_back_at"), "fleet", "what its author was told was taken back"


def _delivery(row: Row, action: str) -> Moment:
    at, guid = row.get(f"{action}_received_at"), row.get(f"{action}_delivery")
    event = row.get(_ACTIONS[action])
    late = at - event if at and event else 0
    if not guid:
        # a row of an older version has the time at which the job was queued
        return at if late else None, "fleet", "reconciliation found the job: no delivery told of it"
    behind = f", {late} s late" if late > _LATE_SECONDS else ""
    return at, "webhook", f"delivery {guid} came: {action}{behind}"


def _line(row: Row, evidence: Evidence) -> str:
    if row.get("waiting_for") != "turn":
        return "in line for its turn"
    return f"in line{_place(row, evidence)}: {row.get('waiting_reason', 'no reason given')}"


def _place(row: Row, evidence: Evidence) -> str:
    place = evidence.places.get(row["runner_id"])
    return f" at place {place}" if place else ""


def _end(row: Row) -> str:
    if row.get("status") == "FAILED":
        return f"FAILED, {row.get('error', '?')}: {row.get('cause', '')}"
    cost = f", ${row['cost_usd']}" if row.get("cost_usd") else ""
    return f"{row.get('status')}: {row.get('end_reason', 'no reason given')}{cost}"


def _image(row: Row, image: Row | None) -> Iterator[Entry]:
    """The build, if this runner waited for it."""
    log = row.get("build_log_url") or (image or {}).get("build_log_url")
    log_text = f", log: {log}" if log else ""
    if "image_ended_at" in row:
        error = row.get("image_error")
        what = f"not built: {error}" if error else "is there"
        at = float(row["image_ended_at"])
    elif image and row.get("status") == "IMAGE_CREATING":
        what, at = f"is {str(image.get('status', '?')).lower()}", float(image.get("updated_at", 0))
    else:
        return
    yield Entry(
        at=at,
        source="image",
        what=f"image {row.get('image_tag', '?')} {what}{log_text}",
        runner_id=row["runner_id"],
    )


def _task(row: Row, task: Mapping[str, Any]) -> Iterator[Entry]:
    for began, ended, what in (
        ("pullStartedAt", "pullStoppedAt", "its image is pulled"),
        ("startedAt", "startedAt", "its container runs"),
    ):
        if began in task:
            took = (task[ended] - task[began]).total_seconds() if ended in task else None
            yield Entry(
                at=task[began].timestamp(),
                source="task",
                what=what,
                runner_id=row["runner_id"],
                seconds=took or None,
            )


def _github(evidence: Evidence) -> Iterator[Entry]:
    """What GitHub says, where no delivery told it."""
    view = evidence.github
    for name, what in (
        ("created_at", "job is queued"),
        ("started_at", f"job started on {view.get('runner_name')}"),
        ("completed_at", f"job ended: {view.get('conclusion')}"),
    ):
        told = {"created_at": "queued_at"}.get(name, name)
        known = any(told in row for row in evidence.rows if _is_about(row, evidence.job_id))
        # GitHub sets started_at of a queued job too
        is_moot = name == "started_at" and not view.get("runner_name")
        at = view.get(name)
        if isinstance(at, str) and not known and not is_moot:
            yield Entry(at=_epoch(at), source="github", what=what)


def _over(evidence: Evidence) -> Verdict:
    view = evidence.github
    runner = view.get("runner_name") or ""
    on = f" on {runner}" if runner else " before a runner had it"
    sentence = f"The job is over: {view.get('conclusion')}{on}."
    failed = [row for row in evidence.rows if row.get("status") == "FAILED"]
    if view.get("conclusion") != "success" and failed:
        last = failed[-1]
        cause = cause_of(last.get("error", ""), last.get("cause", ""))
        detail = f"{last.get('error')}: {last.get('cause', '')}"
        return Verdict(sentence=f"{sentence} Its runner failed: {detail}", remedy=cause.remedy)
    return Verdict(sentence=sentence, remedy="Nothing: GitHub has the job's own log.")


def _standing(row: Row, evidence: Evidence) -> Verdict:
    runner_id, reason = row["runner_id"], row.get("waiting_reason", "no reason given")
    match row.get("status"), row.get("waiting_for"):
        case "FAILED", _:
            return _failed(row)
        case _, "turn":
            return Verdict(
                sentence=f"The job is in line{_place(row, evidence)}: {reason}.",
                remedy="Nothing: its runner is started when its turn comes. Operator: raise the "
                "limit that the reason names; a drained fleet starts none before "
                "`runner-fleet cluster resume`.",
            )
        case _, "capacity":
            return Verdict(
                sentence=f"AWS has no room for the job's runner: {reason}.",
                remedy="Nothing: it is tried again for 24 hours. Operator: "
                f"{capacity_remedy(reason)}.",
            )
        case "IMAGE_CREATING", _:
            return _building(row, evidence.images.get(row.get("image_tag", ""), {}))
        case "STARTING", _:
            return Verdict(
                sentence=f"The job's runner {runner_id} is starting.",
                remedy="Nothing: Fargate takes 30 to 60 seconds, more for large images.",
            )
        case "WAITING_FOR_JOB", _:
            return _idle(row, evidence)
        case "RUNNING", _:
            return _running(row, evidence)
    return _ended(row)


def _building(row: Row, image: Row) -> Verdict:
    tag, log = row.get("image_tag"), row.get("build_log_url") or image.get("build_log_url")
    if image.get("status") == "QUEUED":
        return Verdict(
            sentence=f"The runner's image {tag} waits for other builds to end.",
            remedy="Nothing: it is built when its turn comes. Operator: raise max_image_builds.",
        )
    return Verdict(
        sentence=f"The runner's image {tag} is being built.",
        remedy=f"Nothing: the runner starts then. The build's log: {log or 'not yet'}",
    )


def _running(row: Row, evidence: Evidence) -> Verdict:
    runner_id, heard = row["runner_id"], row.get("last_heartbeat")
    silence = int(evidence.read_at - heard) if heard else 0
    if silence > _SILENT_SECONDS:
        return Verdict(
            sentence=f"The job runs on {runner_id}, which has not been heard of for {silence} s.",
            remedy="Nothing: after five minutes GitHub is asked, and only a runner that GitHub has "
            "lost as well is ended. Operator: see the task's log and its way to the fleet's API.",
        )
    return Verdict(
        sentence=f"The job runs on {runner_id}.",
        remedy="Nothing: GitHub has the job's own log.",
    )


def _failed(row: Row) -> Verdict:
    error = row.get("error", "")
    cause = cause_of(error, row.get("cause", ""))
    said = row.get("cause", "")
    if error == "Job.CannotBeServed" and row.get("left_to"):
        return Verdict(
            sentence=f"The fleet leaves the job to {row['left_to']}, which has its labels; "
            f"it has not what the job asks for itself: {said}.",
            remedy="Nothing: GitHub gives it the job when it is online and free. Operator: "
            "required_labels keeps such jobs out of the fleet.",
        )
    if error == "Job.CannotBeServed":
        return Verdict(sentence=f"The fleet refused the job: {said}.", remedy=cause.remedy)
    again = "" if cause.permanent else " Reconciliation starts another while the job is queued."
    return Verdict(
        sentence=f"The job's runner {row['runner_id']} failed, {cause.title} ({error}: {said}).",
        remedy=cause.remedy + again,
    )


def _idle(row: Row, evidence: Evidence) -> Verdict:
    has = {label.lower() for label in str(row.get("runner_labels", "")).split(",")}
    wanted = {str(label).lower() for label in evidence.github.get("labels") or ()}
    if wanted - has:
        missing = ", ".join(sorted(wanted - has))
        return Verdict(
            sentence=f"The runner {row['runner_id']} lacks labels that the job has: {missing}.",
            remedy="Operator: this is a fault of the fleet's; terminate the runner and report it.",
        )
    return Verdict(
        sentence=f"The runner {row['runner_id']} is up and waits for GitHub to give it the job.",
        remedy="Nothing: GitHub does so within seconds, unless a concurrency group holds the job "
        "back or a runner group forbids the repository.",
    )


def _ended(row: Row) -> Verdict:
    runner_id, conclusion = row["runner_id"], row.get("job_status", "?")
    if "completed_at" in row:
        return Verdict(
            sentence=f"The job ran on {runner_id} and ended: {conclusion}.",
            remedy="Nothing: GitHub has the job's own log.",
        )
    if "ran_on" in row:
        return Verdict(sentence=f"The job ran on {row['ran_on']}.", remedy="Nothing.")
    if "released_at" in row:
        return Verdict(
            sentence=f"No runner was needed any more ({conclusion}): "
            f"{row.get('end_reason', 'the job had ended before one was there')}.",
            remedy="Nothing.",
        )
    return Verdict(
        sentence=f"The runner {runner_id} went without a job: "
        f"{row.get('end_reason', 'no reason given')}.",
        remedy="Nothing: reconciliation starts another while the job is queued.",
    )


def _is_about(row: Row, job_id: int | None) -> bool:
    return job_id is None or row.get("job_id") == job_id


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

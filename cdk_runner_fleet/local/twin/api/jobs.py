"""Workflow runs and their jobs, and whose they are."""

from __future__ import annotations

from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.records import Job, Run
from cdk_runner_fleet.local.twin.request import (
    Answer,
    RefusalError,
    Request,
    found,
    routes,
)


def get_job(github: GitHub, request: Request, job_id: int) -> Answer:
    job = _job(github, request, job_id)
    return 200, github.payloads_of[job.run.repository].job(job)


def list_runs(github: GitHub, request: Request) -> Answer:
    wanted = request.query.get("status", [None])[0]
    runs = [
        run
        for run in reversed(github.board.runs.values())
        if _is_in(run, request) and wanted in (None, run.status, run.conclusion)
    ]
    listed = [github.payloads_of[run.repository].run(run) for run in runs]
    return request.page("workflow_runs", listed)


def get_run(github: GitHub, request: Request, run_id: int) -> Answer:
    run = _run(github, request, run_id)
    return 200, github.payloads_of[run.repository].run(run)


def list_jobs(github: GitHub, request: Request, run_id: int) -> Answer:
    run = _run(github, request, run_id)
    payloads = github.payloads_of[run.repository]
    return request.page("jobs", [payloads.job(job) for job in run.jobs])


def list_repositories(github: GitHub, request: Request) -> Answer:
    return 200, [each.repository() for each in github.payloads_of.values()]


def rerun_job(github: GitHub, request: Request, job_id: int) -> Answer:
    if not github.board.rerun_job(_job(github, request, job_id)):
        raise RefusalError(403, "The workflow run containing this job is already running")
    return 201, {}


def force_cancel(github: GitHub, request: Request, run_id: int) -> Answer:
    run = _run(github, request, run_id)
    if run.status == "completed":
        raise RefusalError(409, "Cannot cancel a workflow run that is completed.")
    github.board.force_cancel(run)
    return 202, {}


def rerun(github: GitHub, request: Request, run_id: int) -> Answer:
    if not github.board.rerun(_run(github, request, run_id)):
        raise RefusalError(403, "This workflow run cannot be rerun: it is still running")
    return 201, {}


def cancel_run(github: GitHub, request: Request, run_id: int) -> Answer:
    run = _run(github, request, run_id)
    if run.status == "completed":
        raise RefusalError(409, "Cannot cancel a workflow run that is completed.")
    github.board.cancel_run(run)
    return 202, {}


def _run(github: GitHub, request: Request, run_id: int) -> Run:
    """A run of the repository that is asked; raises RefusalError if there is none."""
    run = found(github.board.runs, run_id)
    if not _is_in(run, request):
        raise RefusalError(404, "Not Found")
    return run


def _job(github: GitHub, request: Request, job_id: int) -> Job:
    job = found(github.board.jobs, job_id)
    _run(github, request, job.run.id)
    return job


def _is_in(run: Run, request: Request) -> bool:
    return request.scope == f"/repos/{run.repository}".casefold()


ROUTES = routes(
    ("GET", r"{repository}/actions/jobs/(?P<job_id>\d+)", get_job),
    ("GET", "{repository}/actions/runs", list_runs),
    ("GET", r"{repository}/actions/runs/(?P<run_id>\d+)", get_run),
    ("GET", r"{repository}/actions/runs/(?P<run_id>\d+)/jobs", list_jobs),
    ("GET", "{scope}/repos", list_repositories),
    ("POST", r"{repository}/actions/jobs/(?P<job_id>\d+)/rerun", rerun_job),
    ("POST", r"{repository}/actions/runs/(?P<run_id>\d+)/force-cancel", force_cancel),
    ("POST", r"{repository}/actions/runs/(?P<run_id>\d+)/rerun", rerun),
    ("POST", r"{repository}/actions/runs/(?P<run_id>\d+)/cancel", cancel_run),
)

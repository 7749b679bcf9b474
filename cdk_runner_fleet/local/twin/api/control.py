"""The twin's own API, for who plays GitHub's users and its bad days; it asks for the control token.

POST /_twin/workflows              {"file_name", "yaml"} and, optional, "workspace" (a folder
of this machine that stands for the checkout),
"protected_environments" (names), "called" (the texts of workflows that its jobs call, by
reference), "repository" ("owner/name" of one that `GitHub.add_repository` made)
GET  /_twin/runs/{id}              the run with its jobs and the end of their logs
POST /_twin/jobs/{id}/cancel       POST /_twin/jobs/{id}/approve
POST /_twin/runners                {"name", "labels"} and, optional, "seconds": a runner of
somebody else's, which passes each job after so long
GET  /_twin/deliveries             webhook deliveries and their answers
POST /_twin/faults                 {"webhook": {WebhookFault}}, {"api": {ApiFault}},
{"runner": {RunnerFault}} or {"conditions": {Conditions}}
"""

from __future__ import annotations

from cdk_runner_fleet.local.twin.board import NameTakenError
from cdk_runner_fleet.local.twin.faults import ApiFault, Conditions, RunnerFault, WebhookFault
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.others import add_runner
from cdk_runner_fleet.local.twin.request import (
    Answer,
    RefusalError,
    Request,
    found,
    routes,
)
from cdk_runner_fleet.local.twin.workflows import WorkflowError, read_workflow


def queue_workflow(github: GitHub, request: Request) -> Answer:
    body = request.json()
    file_name = str(body.get("file_name") or "workflow.yml")
    try:
        workflow = read_workflow(
            str(body.get("yaml", "")),
            file_name=file_name,
            find=dict(body.get("called") or {}).get,
        )
    except WorkflowError as error:
        raise RefusalError(422, str(error)) from error
    repository = str(body.get("repository") or github.repository)
    if repository not in github.payloads_of:
        raise RefusalError(422, f"there is no repository {repository}")
    run = github.board.queue_run(
        workflow,
        repository=repository,
        file_name=file_name,
        workspace=body.get("workspace"),
        protected_environments=frozenset(body.get("protected_environments", [])),
    )
    return 201, {"run_id": run.id}


def report_run(github: GitHub, request: Request, run_id: int) -> Answer:
    return 200, github.run_report(found(github.board.runs, run_id))


def cancel_job(github: GitHub, request: Request, job_id: int) -> Answer:
    github.board.cancel(found(github.board.jobs, job_id))
    return 202, {}


def approve_job(github: GitHub, request: Request, job_id: int) -> Answer:
    if not github.board.approve(found(github.board.jobs, job_id)):
        raise RefusalError(409, "the job does not wait for an approval")
    return 202, {}


def add_others_runner(github: GitHub, request: Request) -> Answer:
    body = request.json()
    try:
        runner = add_runner(
            github.board,
            name=str(body.get("name")),
            labels=[str(label) for label in body.get("labels") or ()],
            scope=f"/repos/{github.repository}".casefold(),
            seconds=float(body.get("seconds") or 0),
        )
    except NameTakenError as error:
        raise RefusalError(409, f"there is a runner named {error}") from error
    return 201, github.payloads.runner(runner)


def list_deliveries(github: GitHub, request: Request) -> Answer:
    return 200, [
        {
            "guid": each.guid,
            "redelivery": each.redelivery,
            "action": each.action,
            "job_id": each.job_id,
            "status_code": each.status_code,
            "sent_at": each.sent_at,
        }
        for each in github.deliveries
    ]


def script_fault(github: GitHub, request: Request) -> Answer:
    body = request.json()
    try:
        if "webhook" in body:
            github.webhook_faults.add(WebhookFault(**body["webhook"]))
        elif "api" in body:
            github.api_faults.add(ApiFault(**body["api"]))
        elif "runner" in body:
            github.board.faults.add(RunnerFault(**body["runner"]))
        elif "conditions" in body:
            github.board.conditions = Conditions(**body["conditions"])
        else:
            raise RefusalError(
                422, 'give {"webhook": …}, {"api": …}, {"runner": …} or {"conditions": …}'
            )
    except (TypeError, ValueError) as error:
        raise RefusalError(422, str(error)) from error
    return 201, {}


ROUTES = routes(
    ("POST", "/_twin/workflows", queue_workflow),
    ("GET", r"/_twin/runs/(?P<run_id>\d+)", report_run),
    ("POST", r"/_twin/jobs/(?P<job_id>\d+)/cancel", cancel_job),
    ("POST", r"/_twin/jobs/(?P<job_id>\d+)/approve", approve_job),
    ("POST", "/_twin/runners", add_others_runner),
    ("GET", "/_twin/deliveries", list_deliveries),
    ("POST", "/_twin/faults", script_fault),
)

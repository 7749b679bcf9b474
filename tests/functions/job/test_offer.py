"""What a job gets of what there is, over the real handler: its class, image, price and needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime.aws.client import client
from fleet_runtime.job.image_reference import image_tag

from ..aws_stand_in import DEFAULT_IMAGE, RUNNER, Aws
from ..entry_points import started_input
from ..events import job, sample


def test_class_and_image_are_the_jobs(aws: Aws, dispatch: Any) -> None:
    labels = ["self-hosted", "class:medium", "image:ubuntu:22.04", "Docker"]
    dispatch(job("queued", labels=labels))
    document = started_input(aws)
    assert (document["class_name"], document["cpu"], document["memory"]) == (
        "Medium",
        "1024",
        "2048",
    )
    assert document["capacity"] == ["FARGATE_SPOT", "FARGATE"]
    assert set(document["usd_per_second"]) == {"FARGATE_SPOT", "FARGATE"}
    assert document["image_base"] == "public.ecr.aws/docker/library/ubuntu:22.04"
    assert document["image_tag"].startswith("ubuntu-22-04-")
    assert document["task_definition"].endswith(document["image_tag"])


def test_a_ready_image_is_launched_as_it_is(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    ready_image(environment, X86_64="fleet-runner-abc:7")
    dispatch(sample("queued"))
    document = started_input(aws)
    assert (document["task_definition"], document["image_tag"]) == ("fleet-runner-abc:7", "default")
    assert document["image_base"] == ""


def ready_image(environment: pytest.MonkeyPatch, **task_definitions: str) -> None:
    """Deploy with a ready image of the given architectures, of which nothing else is known."""
    image = {"name": "default", "task_definitions": task_definitions}
    environment.setenv("IMAGES", json.dumps([image]))
    environment.setenv("ARCHITECTURES", json.dumps(list(task_definitions)))
    environment.setenv("IMAGE_BUILDING", "off")
    environment.setenv("IMAGE_RECIPE", "")


def put_classes(**classes: dict[str, Any]) -> None:
    sizes = {name: {"cpu": 512, "memory": 1024, **entry} for name, entry in classes.items()}
    client("ssm").put_parameter(Name="/fleet/class-sizes", Value=json.dumps(sizes), Overwrite=True)


def test_a_class_of_another_architecture_has_its_own_image_and_price(
    aws: Aws, dispatch: Any
) -> None:
    put_classes(small={}, arm={"architecture": "ARM64"})
    dispatch(sample("queued"))
    dispatch(job("queued", labels=["self-hosted", "Linux", "ARM64"], id=999))
    x86, arm = (json.loads(call["input"]) for call in aws.sfn.named("StartExecution"))
    assert (arm["class_name"], arm["architecture"]) == ("arm", "ARM64")
    assert arm["image_base"] == x86["image_base"]
    assert arm["image_tag"].startswith("default-")
    assert arm["image_tag"] != x86["image_tag"]
    assert arm["task_definition"] == f"fleet-runner-abc-{arm['image_tag']}"
    assert arm["usd_per_second"]["FARGATE"] == pytest.approx((0.5 * 0.03238 + 0.00356) / 3600, 1e-4)


def test_a_class_has_its_disk_and_its_timeouts_and_pays_for_the_disk(
    aws: Aws, dispatch: Any
) -> None:
    put_classes(small={}, huge={"ephemeral_storage": 120, "job_timeout_seconds": 60})
    dispatch(job("queued", labels=["self-hosted"], id=998))
    dispatch(job("queued", labels=["self-hosted", "class:huge"], id=999))
    small, huge = (json.loads(call["input"]) for call in aws.sfn.named("StartExecution"))
    assert (huge["ephemeral_storage"], huge["timeouts"]) == (120, {"job": 60})
    more = huge["usd_per_second"]["FARGATE"] - small["usd_per_second"]["FARGATE"]
    assert more == pytest.approx(100 * 0.000111 / 3600, rel=1e-4)


def test_a_ready_image_has_a_task_definition_for_each_architecture(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    put_classes(small={}, arm={"architecture": "ARM64"})
    ready_image(environment, X86_64="fleet:7", ARM64="fleet-arm:3")
    dispatch(job("queued", labels=["self-hosted", "arm64"]))
    assert started_input(aws)["task_definition"] == "fleet-arm:3"


def test_a_ready_image_of_one_architecture_serves_no_class_of_another(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    put_classes(small={}, arm={"architecture": "ARM64"})
    ready_image(environment, X86_64="fleet:7")
    dispatch(job("queued", labels=["self-hosted", "arm64"]))
    row = aws.row()
    assert row is not None
    assert "class 'arm' cannot be used, it is ARM64" in row["cause"]


@pytest.mark.parametrize(
    ("asked", "class_name", "needs"),
    [
        ([], "small", ""),
        (["Shell"], "small", ""),
        (["image:node:20", "NODE", "python", "shell"], "small", "node,python,shell"),
        (["Rust"], "own", "rust"),
        (["image:node:20", "rust"], "own", "rust"),
    ],
)
def test_what_only_the_image_can_tell_goes_along(
    aws: Aws, dispatch: Any, asked: list[str], class_name: str, needs: str
) -> None:
    put_classes(small={}, own={"capabilities": ["shell", "Rust"]})
    dispatch(job("queued", labels=["self-hosted", *asked]))
    document = started_input(aws)
    assert (document["class_name"], document["needs"]) == (class_name, needs)
    assert document["capabilities"] == ("shell,rust" if class_name == "own" else "")


def test_of_a_ready_image_nothing_is_known_unless_it_is_said(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    ready_image(environment, X86_64="fleet:7")
    dispatch(job("queued", labels=["self-hosted", "python"]))
    assert started_input(aws)["needs"] == "python"


@pytest.mark.parametrize("image", [[], ["image:node:20"]])
def test_what_the_recipe_declares_holds_for_every_image_that_it_makes(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch, image: list[str]
) -> None:
    environment.setenv("IMAGES", json.dumps([DEFAULT_IMAGE | {"declared": ["java"]}]))
    dispatch(job("queued", labels=["self-hosted", "Java", *image]))
    document = started_input(aws)
    # unless the image itself says that it has not
    assert (document["needs"], document["capabilities"]) == ("java", "java")
    dispatch(job("queued", labels=["self-hosted", "python", *image], id=999))
    row = aws.row("fleet-999-1")
    assert row is not None
    assert "label 'python'" in row["cause"]


GPU: dict[str, Any] = {
    "name": "gpu",
    "base": "ghcr.io/o/cuda:1",
    "recipe": "4567",
    "architectures": ["X86_64"],
    "declared": ["cuda", "shell"],
}
READY = {"name": "house", "task_definitions": {"X86_64": "fleet-class:3"}}


def test_a_job_runs_in_the_image_of_its_class_unless_it_chooses_one(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IMAGES", json.dumps([DEFAULT_IMAGE, GPU, READY]))
    put_classes(small={}, gpu={"image": "gpu"}, house={"image": "house"})
    for number, labels in enumerate(
        (
            ["class:small"],
            ["class:gpu"],
            ["class:house"],
            ["class:gpu", "image:node:20"],
            ["cuda"],
        )
    ):
        dispatch(job("queued", labels=["self-hosted", *labels], id=900 + number))
    small, gpu, house, chosen, cuda = (
        json.loads(call["input"]) for call in aws.sfn.named("StartExecution")
    )
    assert small["image_tag"].startswith("default-")
    assert (gpu["image_base"], gpu["capabilities"]) == ("ghcr.io/o/cuda:1", "cuda,shell")
    assert gpu["image_tag"] == image_tag(
        GPU["base"], recipe=GPU["recipe"], architecture="X86_64", readable="gpu"
    )
    assert gpu["task_definition"] == f"fleet-runner-abc-{gpu['image_tag']}"
    assert (house["image_base"], house["image_tag"]) == ("", "house")
    assert house["task_definition"] == "fleet-class:3"
    # by the recipe of the fleet's own image, which declares nothing
    assert chosen["image_tag"] == image_tag(
        "public.ecr.aws/docker/library/node:20", recipe="0123abcd", architecture="X86_64"
    )
    assert (chosen["class_name"], chosen["capabilities"]) == ("gpu", "")
    assert cuda["class_name"] == "gpu"


def test_a_class_whose_image_the_fleet_has_not_serves_no_job(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IMAGES", json.dumps([DEFAULT_IMAGE, GPU]))
    put_classes(small={}, odd={"image": "cuda"})
    dispatch(job("queued", labels=["self-hosted", "class:odd"]))
    row = aws.row()
    assert row is not None
    assert (
        "class 'odd' cannot be used, the fleet has no image 'cuda', it has default, gpu"
        in row["cause"]
    )


def test_a_job_in_line_says_what_it_needs(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_RUNNERS", "1")
    dispatch(job("queued", id=999))
    dispatch(job("queued", labels=["self-hosted", "image:node:20", "node"]))
    row = aws.row()
    assert row is not None
    assert (row["waiting_for"], row["needs"], row["architecture"]) == ("turn", "node", "X86_64")
    assert json.loads(row["start_input"])["needs"] == "node"


@pytest.mark.parametrize(
    ("labels", "class_name"),
    [
        # a hosted runner's name beside self-hosted is a tag like any other
        (["self-hosted", "Ubuntu-22.04"], "jammy"),
        (["self-hosted", "fleet-prod", "linux"], "small"),
        (["self-hosted", "run-id=940463255-3"], "small"),
        (["self-hosted", "JobId=build-940463255-1", "ubuntu-22.04"], "jammy"),
        (["dependabot"], "Medium"),
    ],
)
def test_a_class_is_asked_for_its_own_labels_alone(
    *,
    aws: Aws,
    dispatch: Any,
    environment: pytest.MonkeyPatch,
    labels: list[str],
    class_name: str,
) -> None:
    environment.setenv("REQUIRED_LABELS", '["fleet-prod"]')
    environment.setenv("SINGLE_LABELS", '{"dependabot": "medium"}')
    put_classes(small={}, jammy={"labels": ["linux", "ubuntu-22.04"]}, Medium={})
    dispatch(job("queued", labels=labels))
    document = started_input(aws)
    assert document["class_name"] == class_name
    assert document["runner_labels"] == ",".join(labels)


def test_a_job_without_an_attempt_is_its_first(aws: Aws, dispatch: Any) -> None:
    payload = sample("queued")
    del payload["workflow_job"]["run_attempt"]
    dispatch(payload)
    assert started_input(aws)["runner_id"] == RUNNER


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["self-hosted", "class:huge"], "class 'huge' is not in the catalog"),
        (["self-hosted", "class:broken"], "memory is 9999, with cpu 512 Fargate has"),
        (["self-hosted", "gpu"], "no class has label 'gpu', there are small (linux, x64, shell)"),
        (["self-hosted", "class:small", "docker"], "class small has no label 'docker'"),
        (["self-hosted", "python"], "ask for an image that has it, with image:"),
        (["self-hosted", "image:"], "label 'image:' is empty"),
        (["self-hosted", "image:ghcr.io/evil/x"], "is not allowed"),
        (["self-hosted", "image:../x"], "is not an image reference"),
        (["self-hosted", "class:a", "class:b"], "different class: labels"),
        (["self-hosted", "{% 1 %}"], "characters that are not allowed"),
        (["self-hosted", "a'b\"c\n"], "characters that are not allowed"),
        (["self-hosted", "läbel"], "characters that are not allowed"),
        (["self-hosted, linux"], "is several labels in one text, write runs-on as a list"),
        (["self-hosted", "windows-2022"], "no class has label 'windows-2022', there are small"),
        (["self-hosted", 7, None], "is not text"),
        (["self-hosted", "x" * 1000], "has 257 characters"),
        (["self-hosted", *map(str, range(99))], "51 labels"),
        (["self-hosted", *[f"{n:0>256}" for n in range(90)]], "characters long in all"),
    ],
)
def test_a_job_that_cannot_be_served_fails_with_its_reason(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str], labels: list[object], reason: str
) -> None:
    dispatch(job("queued", labels=labels))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["error"]) == ("FAILED", "Job.CannotBeServed")
    assert reason in row["cause"]
    assert row["cause"].isprintable()
    assert (row["job_id"], row["job_name"], row["cost_usd"]) == (2832853555, "test (3.12)", 0)
    assert row["expires_at"] == row["timestamp"] + 2592000
    assert aws.sfn.calls == []
    assert '"JobRefused":1' in capsys.readouterr().out.replace(" ", "")


def test_without_building_or_a_ready_image_jobs_are_refused(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IMAGE_BUILDING", "off")
    dispatch(sample("queued"))
    row = aws.row()
    assert row is not None
    assert "the fleet has no runner image" in row["cause"]

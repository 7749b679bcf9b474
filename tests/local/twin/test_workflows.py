"""Reading workflow files: matrices, names, labels, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdk_runner_fleet.local.twin.expressions import Scope
from cdk_runner_fleet.local.twin.workflows import (
    WorkflowError,
    job_file,
    legs,
    read_workflow,
)

EXAMPLES = Path(__file__).parents[3] / "examples" / "workflows"
STEPS = "steps: [{run: 'true'}]"


def one_job(text: str, scope: Scope | None = None) -> list[tuple[str, tuple[str, ...]]]:
    workflow = read_workflow(f"jobs:\n  test:\n    {STEPS}\n{text}", file_name="ci.yml")
    found = legs(workflow.jobs["test"], scope or Scope())
    return [(leg.name, leg.labels) for leg in found]


def test_the_example_asks_for_what_the_readme_shows() -> None:
    workflow = read_workflow(
        (EXAMPLES / "build.yml").read_text(encoding="utf-8"), file_name="build.yml"
    )
    assert workflow.name == "build"
    labels = {key: legs(job, Scope())[0].labels for key, job in workflow.jobs.items()}
    assert labels == {
        "prepare": ("self-hosted",),
        "compile": ("self-hosted", "class:medium"),
        "assets": ("self-hosted", "image:node:20-bookworm"),
        "test": ("self-hosted",),
    }
    assert workflow.jobs["test"].needs == ("prepare", "compile", "assets")
    assert len(legs(workflow.jobs["test"], Scope())) == 2


def test_runs_on_is_a_label_a_list_or_a_group() -> None:
    assert one_job("    runs-on: self-hosted") == [("test", ("self-hosted",))]
    assert one_job("    runs-on: [self-hosted, x64]") == [("test", ("self-hosted", "x64"))]
    assert one_job("    runs-on: {group: g, labels: [a, b]}") == [("test", ("a", "b"))]


def test_a_matrix_multiplies_and_names_its_legs() -> None:
    found = one_job(
        """
    runs-on: [self-hosted, "class:${{ matrix.size }}"]
    strategy:
      matrix:
        size: [small, medium]
        python: [3.10, '3.11']
"""
    )
    assert found == [
        ("test (small, 3.1)", ("self-hosted", "class:small")),
        ("test (small, 3.11)", ("self-hosted", "class:small")),
        ("test (medium, 3.1)", ("self-hosted", "class:medium")),
        ("test (medium, 3.11)", ("self-hosted", "class:medium")),
    ]


def test_include_and_exclude_are_githubs() -> None:
    """The example of docs.github.com, "Expanding or adding matrix configurations"."""
    workflow = read_workflow(
        f"""
jobs:
  test:
    runs-on: x
    {STEPS}
    strategy:
      matrix:
        fruit: [apple, pear]
        animal: [cat, dog]
        include:
          - color: green
          - color: pink
            animal: cat
          - fruit: apple
            shape: circle
          - fruit: banana
          - fruit: banana
            animal: cat
""",
        file_name="ci.yml",
    )
    assert [dict(leg.matrix) for leg in legs(workflow.jobs["test"], Scope())] == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    excluded = one_job(
        """
    runs-on: x
    strategy: {matrix: {a: [1, 2], b: [x, y], exclude: [{a: 1, b: x}, {a: 2}]}}
"""
    )
    assert [name for name, _ in excluded] == ["test (1, y)"]


def test_a_matrix_can_come_from_an_output() -> None:
    needs = {"plan": {"result": "success", "outputs": {"m": '{"n": [1, 2], "o": [{"k": "v"}]}'}}}
    workflow = read_workflow(
        f"""
jobs:
  plan: {{runs-on: x, {STEPS}}}
  test:
    needs: plan
    name: Part ${{{{ matrix.n }}}}
    runs-on: x
    {STEPS}
    strategy: {{matrix: "${{{{ fromJSON(needs.plan.outputs.m) }}}}"}}
""",
        file_name="ci.yml",
    )
    found = legs(workflow.jobs["test"], Scope(contexts={"needs": needs}))
    assert [leg.name for leg in found] == ["Part 1", "Part 2"]
    assert found[0].matrix == {"n": 1, "o": {"k": "v"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jobs: [", "is not YAML"),
        ("name: x", "has no `jobs`"),
        ("jobs: {}", "no job under"),
        ("jobs: {a: 1}", "job 'a' is not a mapping"),
        (f"jobs: {{a: {{{STEPS}}}}}", "has no `runs-on`"),
        ("jobs: {a: {runs-on: x}}", "has no steps"),
        ("jobs: {a: {uses: ./x.yml}}", "has `uses`, which needs GitHub or Docker"),
        (f"jobs: {{a: {{runs-on: x, container: y, {STEPS}}}}}", "has `container`"),
        (f"jobs: {{a: {{runs-on: x, needs: b, {STEPS}}}}}", "needs 'b'; there is a"),
        (f"jobs: {{a: {{runs-on: x, needs: a, {STEPS}}}}}", "the jobs a need each other"),
        (f"jobs: {{a: {{runs-on: x, outputs: {{'x y': z}}, {STEPS}}}}}", "an output 'x y'"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(WorkflowError, match=r"^ci\.yml") as raised:
        read_workflow(text, file_name="ci.yml")
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("    runs-on: x\n    strategy: {matrix: {a: b}}", "matrix.a is 'b', not a list"),
        ("    runs-on: x\n    strategy: {matrix: [1]}", "not a mapping"),
        ("    runs-on: [[x]]", "not a label or a list"),
        ("    runs-on: x\n    strategy: {matrix: {a: []}}", "has 0 combinations; allowed: 1-256"),
    ],
)
def test_a_matrix_or_labels_github_refuses_are_refused(text: str, why: str) -> None:
    with pytest.raises(WorkflowError, match="job 'test'") as raised:
        one_job(text)
    assert why in str(raised.value)


def test_on_stays_a_key_and_the_job_file_is_the_jobs_alone() -> None:
    workflow = read_workflow(
        f"name: n\non: push\nenv: {{A: b}}\njobs:\n  a: {{runs-on: x, {STEPS}}}\n"
        f"  b: {{needs: a, runs-on: y, if: failure(), environment: prod, {STEPS}}}\n",
        file_name="ci.yml",
    )
    assert workflow.definition["on"] == "push"
    spec = workflow.jobs["b"]
    assert spec.environment == "prod"
    needs = {"a": {"result": "failure", "outputs": {"v": "${{ secrets.x }}"}}}
    document = json.loads(job_file(workflow, spec, legs(spec, Scope())[0], needs=needs))
    assert document["env"] == {"A": "b"}
    assert set(document["jobs"]) == {"a", "b"}
    assert document["jobs"]["b"]["runs-on"] == "self-hosted"
    assert document["jobs"]["a"]["outputs"] == {"v": "${{ '${{' }} secrets.x }}"}
    assert "environment" not in document["jobs"]["b"]

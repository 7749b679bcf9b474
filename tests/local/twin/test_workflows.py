"""Reading workflow files: matrices, names, labels, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdk_runner_fleet.local.twin.documents import DocumentError, read_document
from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope
from cdk_runner_fleet.local.twin.workflows import (
    WorkflowError,
    job_file,
    legs,
    read_workflow,
)

EXAMPLES = Path(__file__).parents[3] / "examples" / "workflows"
STEPS = "steps: [{run: 'true'}]"


def one_job(text: str, scope: Scope | None = None) -> list[tuple[str, tuple[str, ...]]]:
    workflow = read_workflow(f"on: push\njobs:\n  test:\n    {STEPS}\n{text}", file_name="ci.yml")
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
on: push
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
on: push
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


def in_a_job(text: str) -> str:
    return f"on: push\njobs:\n  test:\n    runs-on: x\n    {STEPS}\n    {text}\n"


def in_a_step(text: str) -> str:
    return f"on: push\njobs:\n  test:\n    runs-on: x\n    steps: [{{{text}}}]\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jobs: [", "(Line: 1, Col: 8): expected the node content"),
        ("", "the file is empty"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("x", "(Line: 1, Col: 1): Unexpected value 'x'"),
        ("on: push", "(Line: 1, Col: 1): Required property is missing: jobs"),
        ("on: push\njobs: {}", "(Line: 2, Col: 7): The workflow must contain at least one job"),
        ("on: push\njobs: {a: 1}", "(Line: 2, Col: 11): Unexpected value '1'"),
        (f"jobs: {{a: {{runs-on: x, {STEPS}}}}}", "Required property is missing: on"),
        (f"on: pusch\njobs: {{a: {{runs-on: x, {STEPS}}}}}", "Unexpected value 'pusch'"),
        (f"on: push\njobs: {{a: {{{STEPS}}}}}", "Required property is missing: runs-on"),
        ("on: push\njobs: {a: {runs-on: x}}", "Required property is missing: steps"),
        ("on: push\njobs: {a: {runs-on: x, steps: []}}", "No steps defined in `steps`"),
        ("on: push\njobs: {a: {name: x}}", "Add one of these properties: cancel-timeout-minutes"),
        ("on: push\njobs: {a: {uses: ./x.yml}}", "Invalid workflow reference './x.yml'"),
        (f"on: push\njobs: {{a b: {{runs-on: x, {STEPS}}}}}", "The identifier 'a b' is invalid"),
        (f"on: push\njobs: {{1a: {{runs-on: x, {STEPS}}}}}", "The identifier '1a' is invalid"),
        (f"on: push\njobs: {{__a: {{runs-on: x, {STEPS}}}}}", "IDs starting with '__'"),
        (in_a_job("foo: 1"), "(Line: 6, Col: 5): Unexpected value 'foo'"),
        (in_a_job("runs-on: y"), "'runs-on' is already defined"),
        (in_a_job("env: {A: 1, a: 2}"), "'a' is already defined"),
        (in_a_job("needs: b"), "must contain at least one job with no dependencies"),
        (in_a_job("uses: a/b/.github/workflows/c.yml@v1"), "Unexpected value 'uses'"),
        (in_a_job("if: env.A == 'b'"), "Unrecognized named-value: 'env'. Located at position 1"),
        (in_a_job("if: ${{ secrets.A }}"), "Unrecognized named-value: 'secrets'"),
        (in_a_job("if: matrix.a"), "Unrecognized named-value: 'matrix'"),
        (in_a_job("if: hashFiles('a')"), "Unrecognized function: 'hashFiles'"),
        (in_a_job("if: a b"), "Unrecognized named-value: 'a'"),
        (in_a_job("name: ${{ runner.os }}"), "Unrecognized named-value: 'runner'"),
        (in_a_job("env: {A: '${{ 1'}"), "The expression is not closed"),
        (in_a_job("env: {A: '${{ }}'}"), "An expression was expected"),
        (in_a_job("permissions: {contents: all}"), "Unexpected value 'all'"),
        (in_a_job("concurrency: {cancel-in-progress: true}"), "property is missing: group"),
        (in_a_job("timeout-minutes: abc"), "Unexpected value 'abc'"),
        (in_a_job("continue-on-error: maybe"), "Unexpected value 'maybe'"),
        (in_a_job("strategy: {matrix: {a: b}}"), "Unexpected value 'b'"),
        (in_a_job("strategy: {matrix: [1]}"), "A sequence was not expected"),
        (in_a_job("strategy: {matrix: {a: []}}"), "Matrix vector 'a' does not contain any values"),
        (
            in_a_job("strategy: {matrix: {}}"),
            "(Line: 6, Col: 24): Matrix must define at least one vector",
        ),
        (in_a_job("strategy: {matrix: {include: []}}"), "Matrix must define at least one vector"),
        (
            in_a_job("strategy: {matrix: {a: [1], exclude: [{b: 1}]}}"),
            "Matrix exclude key 'b' does not match any key within the matrix",
        ),
        (in_a_job("strategy: {failfast: true}"), "Unexpected value 'failfast'"),
        (
            in_a_job(f"concurrency: {'g' * 401}"),
            "(Line: 6, Col: 18): Concurrency group name must be less than 400 characters",
        ),
        (
            f"concurrency: {{group: {'g' * 401}}}\n{in_a_job('')}",
            "(Line: 1, Col: 22): Concurrency group name must be less than 400 characters",
        ),
        (in_a_job("outputs: [a]"), "A sequence was not expected"),
        (
            in_a_job("env: {A: !!int x}"),
            "ci.yml: The value 'x' on line 6 and column 14 is invalid for the type "
            "'tag:yaml.org,2002:int'",
        ),
        (
            in_a_job("env: {A: !!int '1'}"),
            "The scalar style 'SingleQuoted' on line 6 and column 14",
        ),
        (in_a_job("env: {A: !!timestamp 2026-01-02}"), "Unexpected tag"),
        (in_a_job("env: *a"), "there is no anchor 'a' before it"),
        (in_a_job("env: {[a]: b}"), "A mapping key must be a scalar"),
        (in_a_job("env: {<<: {A: b}}"), "A mapping was not expected"),
        (in_a_job("container: {options: x}"), "Container image cannot be empty"),
        (in_a_job("needs: ${{ github.ref }}"), "Unrecognized named-value: 'github'"),
        (in_a_step("run: a, uses: b/c@d"), "Unexpected value 'uses'"),
        (in_a_step("shell: bash"), "Required property is missing: run"),
        (in_a_step("name: a"), "There's not enough info to determine what you meant"),
        (in_a_step("run: a, if: nosuch()"), "Unrecognized function: 'nosuch'"),
        (in_a_step("run: a, if: secrets.A"), "Unrecognized named-value: 'secrets'"),
        (in_a_step("run: a, if: success('b')"), "Too many parameters supplied: 'success'"),
        (in_a_step("run: '${{ 1 + }}'"), "Unexpected symbol: '+'"),
        (in_a_step("run: a, id: 1"), "The identifier '1' is invalid"),
        (in_a_step("run: a, id: b}, {run: c, id: B"), "may not be used more than once"),
        (in_a_step("run: '${{ github.ref }} " + "x" * 21_000 + "'"), "expression length 21000"),
        (in_a_step("uses: actions/checkout"), "Expected format {org}/{repo}[/path]@ref"),
        (in_a_step("uses: checkout@v1"), "Expected format {org}/{repo}[/path]@ref"),
        (in_a_step("uses: a/b@v1@v2"), "Expected format {org}/{repo}[/path]@ref"),
        (in_a_step("run: a, if: contains('b'"), "Unexpected end of expression: ''b''."),
        (in_a_step("run: a, background: maybe"), "Unexpected value 'maybe'"),
        (in_a_step("run: a, id: b}, {wait: [b, c]"), "Step references unknown step ID 'c'"),
        (in_a_step("cancel: b}, {run: a, id: b"), "Step references unknown step ID 'b'"),
        (in_a_step("wait-all: false"), "The value of 'wait-all' must be true or omitted"),
        (in_a_step("wait-all: , if: always()"), "Unexpected value 'if'"),
        (in_a_step("parallel: [{run: a, background: true}]"), "Unexpected value 'background'"),
        (in_a_step("parallel: [{run: a, id: 1}]"), "The identifier '1' is invalid"),
        ("x" * (1024 * 1024 + 1), "The maximum file size of 1048576 characters has been exceeded"),
        (in_a_step("run: '${{ insert }} a'"), "The directive 'insert' is not allowed"),
        ("[" * 60 + "]" * 60, "Maximum object depth exceeded"),
        (
            f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, "
            f"b: {{needs: [a, c], runs-on: x, {STEPS}}}}}",
            "Job 'b' depends on unknown job 'c'.",
        ),
        (
            f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, b: {{needs: c, runs-on: x, {STEPS}}}, "
            f"c: {{needs: b, runs-on: x, {STEPS}}}}}",
            "Job 'b' depends on job 'c' which creates a cycle in the dependency graph.",
        ),
        ("on: {schedule: [{cron: x}]}", "Invalid cron expression"),
        ("on: {workflow_dispatch: {inputs: {a: {type: choice}}}}", "Missing 'options'"),
        ("on: {workflow_call: {inputs: {a: {}}}}", "Required property is missing: type"),
    ],
)
def test_what_github_refuses_is_refused_in_its_words(text: str, why: str) -> None:
    with pytest.raises(WorkflowError, match=r"^ci\.yml") as raised:
        read_workflow(text, file_name="ci.yml")
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (
            in_a_job("timeout-minutes: ${{ 1 + }}"),
            [
                "Unexpected symbol: '+'. Located at position 3 within expression: 1 +",
                "Unexpected value '${{ 1 + }}'",
            ],
        ),
        (in_a_job("container: {foo: x}"), ["Unexpected value 'foo'"]),
        (in_a_step("run: a, id: ''"), ["Unexpected value ''"]),
        (f"on: push\njobs: {{'': {{runs-on: x, {STEPS}}}}}", ["Unexpected value ''"]),
    ],
)
def test_a_fault_has_the_reasons_that_github_gives_it(text: str, reasons: list[str]) -> None:
    with pytest.raises(WorkflowError) as raised:
        read_workflow(text, file_name="ci.yml")
    assert [line.split("): ", 1)[1] for line in str(raised.value).splitlines()] == reasons


PREFIXES = "Please use 'organization/' or 'enterprise/' prefix to target a single runner group."


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("a/", "'a/'."),
        ("org/", "'org/'."),
        ("a/b", f"'a/b'. {PREFIXES}"),
        ("/b", f"'/b'. {PREFIXES}"),
        ("org/a/b", f"'org/a/b'. {PREFIXES}"),
    ],
)
def test_a_group_that_cannot_be_is_refused(group: str, reason: str) -> None:
    text = in_a_job("").replace("runs-on: x", f"runs-on: {{group: {group}}}")
    with pytest.raises(WorkflowError) as raised:
        read_workflow(text, file_name="ci.yml")
    assert str(raised.value) == f"ci.yml (Line: 4, Col: 22): Invalid runs-on group name {reason}"


@pytest.mark.parametrize("used", ["a b/c d@v1", "a/b/c/d@v1", "./x", "docker://", ".\\x"])
def test_an_action_is_named_as_github_takes_it(used: str) -> None:
    assert read_workflow(in_a_step(f"uses: '{used}'"), file_name="ci.yml")


def test_needs_are_compared_without_regard_to_case() -> None:
    workflow = read_workflow(
        f"on: push\njobs: {{Build: {{runs-on: x, {STEPS}}}, "
        f"test: {{needs: [BUILD], runs-on: x, {STEPS}}}}}",
        file_name="ci.yml",
    )
    assert workflow.jobs["test"].needs == ("Build",)


@pytest.mark.parametrize(
    ("steps", "key"),
    [
        ("run: a, id: b, background: true}, {wait: b", "background"),
        ("uses: a/b@c, id: b}, {name: n, id: w, continue-on-error: true, wait: [b]", "wait"),
        ("run: a}, {wait-all: ", "wait-all"),
        ("run: a, id: b}, {cancel: b", "cancel"),
        ("parallel: [{run: a, id: b}, {uses: c/d@e}]", "parallel"),
    ],
)
def test_steps_side_by_side_are_read_and_fail_their_job(steps: str, key: str) -> None:
    workflow = read_workflow(in_a_step(steps), file_name="ci.yml")
    with pytest.raises(WorkflowError, match=f"a step of the job has `{key}`"):
        legs(workflow.jobs["test"], Scope())


def test_every_reason_is_told_with_its_place() -> None:
    text = in_a_job("foo: 1\n    if: env.A\n    name: [b]")
    with pytest.raises(WorkflowError) as raised:
        read_workflow(text, file_name="ci.yml")
    assert str(raised.value).splitlines() == [
        "ci.yml (Line: 6, Col: 5): Unexpected value 'foo'",
        "ci.yml (Line: 7, Col: 9): Unrecognized named-value: 'env'. Located at position 1 within "
        "expression: env.A",
        "ci.yml (Line: 8, Col: 11): A sequence was not expected",
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2026-01-02", "2026-01-02"),
        ("010", 10),
        ("-010", -10),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("0o17", 15),
        ("0xFF", 255),
        ("1e3", 1000),
        ("0.1e1", 1),
        ("3.10", 3.1),
        ("08", 8),
        ("=", "="),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("Null", None),
        ("", None),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("!!int 0x1F", 31),
        ("!!float 1", 1),
        ("'1'", "1"),
        ("<<", "<<"),
        (".5", 0.5),
        (".inf", float("inf")),
        ("&a x", "x"),
        ("99999999999999999999", 1e20),
        ("\n  >-\n  3.10", "3.10"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(written: str, value: object) -> None:
    found = read_document(f"a: {written}\n").plain()["a"]
    assert found == value
    assert isinstance(found, bool) is isinstance(value, bool)


def test_an_alias_stands_for_what_it_names_and_not_for_a_thousand_million_of_it() -> None:
    assert read_document("a: &x [1]\nb: *x\n").plain() == {"a": [1], "b": [1]}
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    with pytest.raises(DocumentError, match="Maximum YAML nodes exceeded"):
        read_document(bomb)


def test_a_file_takes_ten_mebibytes_with_its_aliases() -> None:
    text = "x" * (512 * 1024)  # two bytes a character
    assert read_document(f"a: &a {text}\nb: [{', '.join(['*a'] * 8)}]\n")
    with pytest.raises(DocumentError, match="Maximum object size exceeded"):
        read_document(f"a: &a {text}\nb: [{', '.join(['*a'] * 9)}]\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("runs-on: {group: g}", "`runs-on` names the group 'g' and no labels"),
        ("runs-on: ${{ fromJSON('[[1]]') }}", "A label or a sequence of labels was expected"),
        ("runs-on: ${{ matrix.none }}", "Unexpected value '' for `runs-on`"),
        ("runs-on: x\n    container: y", "the job has `container`, which needs Docker"),
        ("runs-on: x\n    timeout-minutes: ${{ 'a' }}", "Unexpected value '${{ 'a' }}'"),
        ("runs-on: x\n    timeout-minutes: ${{ github.ref }}", "for `timeout-minutes`"),
        ("runs-on: x\n    continue-on-error: ${{ github.ref }}", "for `continue-on-error`"),
        ("runs-on: x\n    strategy: ${{ fromJSON('[1]') }}", "A mapping was expected"),
        ("runs-on: x\n    strategy: {matrix: '${{ github.ref }}'}", "A mapping was expected"),
    ],
)
def test_what_shows_only_when_the_job_is_due_fails_it(text: str, why: str) -> None:
    with pytest.raises((WorkflowError, ExpressionError)) as raised:
        one_job(f"    {text}", Scope(contexts={"github": {"ref": "refs/heads/main"}}))
    assert why in str(raised.value)


def test_the_keys_that_take_expressions_are_evaluated_for_each_leg() -> None:
    workflow = read_workflow(
        in_a_job(
            "continue-on-error: ${{ matrix.experimental }}\n"
            "    timeout-minutes: ${{ matrix.n }}\n"
            "    strategy: {matrix: {experimental: [true, false], n: ['${{ fromJSON(5) }}']}}"
        ),
        file_name="ci.yml",
    )
    found = legs(workflow.jobs["test"], Scope())
    assert [(leg.is_forgiven, leg.timeout_minutes) for leg in found] == [(True, 5), (False, 5)]
    document = json.loads(job_file(workflow, workflow.jobs["test"], found[0], needs={}))
    assert document["jobs"]["test"]["timeout-minutes"] == 5
    assert "continue-on-error" not in document["jobs"]["test"]


def test_a_strategy_can_come_from_an_expression() -> None:
    scope = Scope(contexts={"inputs": {"s": '{"matrix": {"n": [1, 2]}}'}})
    found = one_job("    runs-on: x\n    strategy: ${{ fromJSON(inputs.s) }}", scope)
    assert [name for name, _ in found] == ["test (1)", "test (2)"]


def test_labels_that_are_numbers_or_booleans_are_text() -> None:
    assert one_job("    runs-on: [self-hosted, 3.10, true]") == [
        ("test", ("self-hosted", "3.1", "true"))
    ]


def test_a_number_in_a_name_has_fifteen_digits() -> None:
    found = one_job("    runs-on: x\n    strategy: {matrix: {n: [1234567890123456789, 0.00001]}}")
    assert [name for name, _ in found] == ["test (1.23456789012346E+18)", "test (1E-05)"]


def test_a_name_that_is_empty_is_the_key() -> None:
    assert one_job("    runs-on: x\n    name: ''") == [("test", ("x",))]


def test_an_if_that_is_always_true_is_warned_of() -> None:
    workflow = read_workflow(in_a_job("if: |\n      ${{ false }}"), file_name="ci.yml")
    (warning,) = workflow.warnings
    assert warning.startswith("ci.yml (Line: 6): this `if` is text with an expression in it")
    assert read_workflow(in_a_job("if: ${{ false }}"), file_name="ci.yml").warnings == ()


def test_inputs_have_their_defaults() -> None:
    text = """
on:
  workflow_dispatch:
    inputs:
      deploy: {type: boolean, default: true}
      level: {type: number}
      place: {default: here}
      other:
jobs:
  a: {runs-on: x, steps: [{run: x}]}
"""
    workflow = read_workflow(text, file_name="ci.yml")
    assert workflow.inputs == {"deploy": True, "level": 0, "place": "here", "other": ""}
    leg = legs(workflow.jobs["a"], Scope())[0]
    text = job_file(
        workflow,
        workflow.jobs["a"],
        leg,
        needs={},
        event="workflow_dispatch",
        inputs=workflow.inputs,
    )
    document = json.loads(text)
    inputs = document["on"]["workflow_dispatch"]["inputs"]
    assert inputs["deploy"] == {"type": "boolean", "default": "true"}
    assert inputs["place"] == {"type": "string", "default": "here"}


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

"""The twin's reading of expressions and workflow files, against GitHub's own, from npm.

What differs is listed here, each with its reason, and in docs/local-run.md: whatever is not listed
has to agree.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope, parse
from cdk_runner_fleet.local.twin.workflows import WorkflowError, read_workflow
from tests.reference_workflows import answers

CONTEXTS: dict[str, Any] = {
    "list": [{"n": "x"}, {"m": 1, "N": 2}, [1, [2]], None, "s", 3, {"n": {"k": "v"}}],
    "map": {"a": 1, "B": {"c": "d"}, "": "e", "true": "t", "nan": "n", "a1": [1]},
    "deep": {"p": [{"q": [1, 2]}, {"q": [3]}]},
    "text": "Hello World",
    "none": None,
    "empty": "",
    "number": 3.5,
    "emptylist": [],
    "emptymap": {},
}
VALUES = (
    *("1", "0", "-1", "0.5", "1e3", "0xff", "0o17", "0b11", "+1", ".5", "5.", "-0", "1e-7", "1e21"),
    *("12345678901234567890", "Infinity", "-Infinity", "NaN", "'x'", "''", "'it''s'", "' '"),
    *("' 0xff '", "'+1'", "'1_0'", "'abc'", "'ABC'", "'ß'", "'SS'", "'_'", "'Z'", "'a'"),
    *("'é'", "'Infinity'", "'NaN'", "'1e3'", "'٣'", "'\u00a05'", "true", "false", "null"),
    *CONTEXTS,
)
WRONG = (
    *("-0xFF", "infinity", "1_0", "1a", "TRUE", "1 <", "1 < )", "> 1", "text.()", "(1,", "1 2"),
    *("(1)2", "nosuch()", "false && nosuch()", "1 = < 2", "1 & 2", "'open", "nowhere", "map."),
    *("map.1", "list.*.", "list..n", "map[", "map[]", "*", "()", "1.a", "'a'.b", "true.x", "a$b"),
    *("success()", "hashFiles('a')", "join()", "join(1,2,3)", "case(1,2)", "case(true,1,2,3)"),
    *("case(1,1,2)", "toJSON()", "contains(1)", "format()", '"a"', "list\u00a0", "1\v", "insert"),
    *(
        "..a/b.md",
        ".a/b",
        "a/b.md",
        "!",
        "1 !",
        "fromJSON('nope')",
        "fromJSON('')",
        "fromJSON(NaN)",
    ),
    *("fromJSON('01')", "fromJSON('[1,]')", "format('{')", "format('}')", "format('{0}')"),
    *("format('{a}',1)", "format('{0',1)", "!" * 50 + "1", "map" + ".a" * 50, "1" * 21_001),
    "(" * 50 + "1" + ")" * 50,
)
RIGHT = (
    *("map.true", "map.NaN", "Map.B.C", "map['b'].c", "map.*", "list.*", "list[*].n", "list.*.n.k"),
    *("list.*.*", "list[0].n", "list[-1]", "list['0']", "list[1.9]", "deep.p.*.q", "deep.p.*.q[0]"),
    *(
        "deep.p.*.q.*",
        "(list.*).n",
        "list == list",
        "list.* == list.*",
        "\n1\n",
        "1==1==1",
        "1<2<3",
    ),
    *(
        "format('{0}{1}{0}', 1, 'b')",
        "format('{{0}}')",
        "format('{{{0}}}', 1)",
    ),
    *("toJSON(list)", "toJSON(map)", 'fromJSON(\'{"a":1,"A":2}\').a', "fromJSON('1e400')"),
    *(
        "fromJSON('\"\\u00e9\"')",
        "contains(list.*.n, 'X')",
        "join(list.*.n, '-')",
        "!!1",
        "!1==false",
    ),
    *(
        "",
        " ",
        "!" * 49 + "1",
        "map" + ".a" * 49,
        "(" * 49 + "1" + ")" * 49,
        " || ".join(["0"] * 60),
    ),
)
OPERATORS = ("==", "!=", "<", ">", "<=", ">=", "&&", "||")
CALLS = (
    *(
        "!{}",
        "toJSON({})",
        "format('{{0}}', {})",
        "join({})",
        "join(list, {})",
        "contains({}, 'a')",
    ),
    *("contains('a', {})", "contains(list, {})", "startsWith({}, 'h')", "endsWith('1', {})"),
    *(
        "list[{}]",
        "map[{}]",
        "list.*[{}]",
        "({}).a",
        "({}).*",
        "case({} == 1, 1, 2)",
        "fromJSON({})",
    ),
)
EXPRESSION_DIFFERENCES = {
    "'a''''b'": "npm turns only the first of a text's doubled quotes into one",
    'toJSON(fromJSON(\'{"b":1,"2":3}\'))': "a JavaScript object lists whole numbers first",
    "join(list,)": "npm lets a comma end the arguments; GitHub's server refuses it",
    "case(true, 1, fromJSON('nope'))": "npm evaluates every argument; GitHub those it comes to",
    "contains(emptylist, fromJSON('nope'))": "the same",
    "startsWith(map, fromJSON('nope'))": "the same",
    "format('a', fromJSON('nope'))": "the same",
    "join(emptylist, fromJSON('nope'))": "the same",
    "text[fromJSON('nope')]": "the same, of an index into what has none",
    "format('{0:x}', 1)": "npm passes over what follows the number; GitHub refuses it",
    "format('{0 }', 1)": "the same",
    f"toJSON(fromJSON('{'[' * 100}{']' * 100}'))": "GitHub keeps 99 levels, npm all",
}


def expressions() -> list[str]:
    """All pairs of values under each operator, each value in each call, and deeper ones."""
    found = [f"{a} {op} {b}" for a, op, b in itertools.product(VALUES, OPERATORS, VALUES)]
    found += [call.format(value) for call, value in itertools.product(CALLS, VALUES)]
    dice = random.Random(11)

    def grown(depth: int) -> str:
        kind = dice.random()
        if depth == 0 or kind < 0.3:
            return dice.choice(VALUES)
        if kind < 0.6:
            return f"{grown(depth - 1)} {dice.choice(OPERATORS)} {grown(depth - 1)}"
        if kind < 0.75:
            return f"({grown(depth - 1)})"
        if kind < 0.85:
            path = (".n", ".*", "[*]", "[0]", "['a']", ".B", ".p", ".q", "[1]", ".k")
            steps = dice.choices(path, k=dice.randint(1, 4))
            return dice.choice(("list", "map", "deep", "text")) + "".join(steps)
        return dice.choice(CALLS).format(grown(depth - 1))

    return [*found, *WRONG, *RIGHT, *(grown(3) for _ in range(3000))]


JOB = "    runs-on: x\n    steps: [{run: x}]\n"
JOB_KEYS = (
    *(
        "name: y",
        "foo: 1",
        "if: env.X",
        "if: ${{ secrets.X }}",
        "if: success('b')",
        "if: ''",
        "if:",
    ),
    *("if: hashFiles('x')", "if: matrix.x", "if: true", "if: 1", "if: ${{ true }} x", "if: [1]"),
    *("timeout-minutes: abc", "timeout-minutes: 5", "timeout-minutes: ${{ matrix.t }}", "needs: a"),
    *("continue-on-error: maybe", "continue-on-error: true", "permissions: read-all", "needs: []"),
    *("permissions: foo", "permissions: {contents: foo}", "permissions: {foo: read}", "needs: b"),
    *("permissions: {id-token: read}", "concurrency: x", "concurrency: {cancel-in-progress: true}"),
    *("concurrency: ${{ secrets.x }}", "environment: x", "environment: {url: y}", "outputs: [a]"),
    *("outputs: {'x y': b}", "outputs: {a: '${{ steps.x.y }}'}", "env: {A: 2026-01-02, B: null}"),
    *("env: [a]", "env: {A: '${{ env.B }}'}", "env: {A: 1, a: 2}", "strategy: {matrix: {a: b}}"),
    *("strategy: {matrix: [1]}", "strategy: {matrix: '${{ fromJSON(1) }}'}", "strategy: {foo: 1}"),
    *("strategy: {fail-fast: x}", "strategy: {matrix: {include: [x]}}", "strategy:", "needs: ''"),
    *("strategy: ${{ fromJSON(1) }}", "defaults: {run: {foo: x}}", "container: {options: x}"),
    *("container: {foo: x}", "services: [a]", "uses: ./.github/workflows/x.yml", "with: {a: 1}"),
    *("env: {<<: {A: 1}}", "env: &x {A: 1}", "env: {A: '${{ 1'}", "env: {A: '${{ insert }} x'}"),
    *(
        "env: {A: '${{ }}'}",
        "name: ${{ runner.os }}",
        "name: [a]",
        "snapshot: {version: x}",
        "name:",
    ),
)
RUNS_ON = (
    *("[self-hosted, 3.10]", "true", "''", "[]", "['']", "[[x]]", "{group: g}", "{group: a/b}"),
    *(
        "{group: org/b}",
        "{group: ent/}",
        "{foo: x}",
        "${{ matrix.x }}",
        "${{ env.X }}",
        "{labels: x}",
    ),
)
STEPS = (
    *(
        "{run: x, uses: a/b@c}",
        "x",
        "{}",
        "{name: x}",
        "{shell: x}",
        "{run: x, shell: ''}",
        "{run: }",
    ),
    *("{uses: a/b@c, shell: x}", "{uses: ''}", "{uses: ./x}", "{uses: 'docker://x'}", "{run: [x]}"),
    *("{uses: a/b@c, with: x}", "{run: x, with: {x: 1}}", "{run: x, id: 1a}", "{run: x, id: __a}"),
    *("{run: x, if: env.X}", "{run: x, if: secrets.X}", "{run: x, if: nope()}", "{run: x, foo: y}"),
    *(
        "{run: x, if: \"success('a')\"}",
        "{run: x, if: \"hashFiles('a')\"}",
        "{run: 1}",
        "{wait: x}",
    ),
    *(
        "{run: x, timeout-minutes: x}",
        "{run: '${{ nope }}'}",
        "{run: '${{ env.a }} ${{ jobs.x }}'}",
    ),
    *("{run: x}, {run: y, id: a}, {run: z, id: a}", "{parallel: [{run: x}]}", "{parallel: x}"),
    *("{parallel: [{run: x}], name: y}", "{parallel: []}"),
)
EVENTS = (
    *("push", "[push, pull_request]", "pusch", "[pusch]", "{pusch: }", "", "true", "{push: }"),
    *("{schedule: [{cron: '*/5 1-3 * jan mon'}]}", "{schedule: [{cron: x}]}", "workflow_call"),
    *("{workflow_dispatch: {inputs: {a: {type: choice}}}}", "{schedule: {cron: x}}"),
    *("{workflow_dispatch: {inputs: {a: {type: boolean, default: x}}}}", "{schedule: [{foo: x}]}"),
    *("{workflow_dispatch: {inputs: {a: {options: [x]}}}}", "{workflow_call: {inputs: {a: {}}}}"),
    *("{workflow_call: {outputs: {a: {}}}}", "{workflow_call: {foo: x}}", "{workflow_dispatch: }"),
    *("{workflow_call: {secrets: {a: {foo: true}}}}", "{workflow_call: {inputs: {a: {type: x}}}}"),
)
WHOLE = (
    *(
        "",
        "x",
        "[]",
        "on: push\n",
        "on: push\njobs:\n",
        "on: push\njobs: []\n",
        "on: push\njobs: [\n",
    ),
    *(f"jobs:\n  a:\n{JOB}", f"on: push\non: push\njobs:\n  a:\n{JOB}"),
    *(f"on: push\nfoo: x\njobs:\n  a:\n{JOB}", f"name: ${{{{ x }}}}\non: push\njobs:\n  a:\n{JOB}"),
    *(
        f"on: push\njobs:\n  {key}:\n{JOB}"
        for key in ("1a", "a.b", "_a-1", "__a", "a b", "A" * 100)
    ),
    *(f"on: push\njobs:\n  a:\n{JOB}  {key}:\n{JOB}" for key in ("a", "A", "b")),
    *("on: push\njobs:\n  a: x\n", "on: push\njobs:\n  a:\n", "on: push\njobs:\n  a: {}\n"),
    f"on: push\njobs:\n  a:\n{JOB}  b:\n    needs: [a, c]\n{JOB}",
    f"on: push\njobs:\n  a:\n    needs: b\n{JOB}  b:\n    needs: a\n{JOB}",
    f"on: push\njobs:\n  a:\n{JOB}---\nx: 1\n",
    f"x: &a {{A: 1}}\non: push\nenv: *a\njobs:\n  a:\n{JOB}",
    "on: push\njobs:\n  a: {uses: x/y/.github/workflows/x.yml@v1, secrets: inherit}\n",
    "on: push\njobs:\n  a: {uses: x/y/.github/workflows/x.yml@v1, env: {a: 1}}\n",
)


def of_job(key: str) -> str:
    return f"on: push\njobs:\n  a:\n{JOB}    {key}\n"


def of_step(step: str) -> str:
    return f"on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{step}]\n"


def of_event(event: str) -> str:
    return f"on: {event}\njobs:\n  a:\n{JOB}"


FILES = (
    *map(of_job, JOB_KEYS),
    *(f"on: push\njobs:\n  a:\n    runs-on: {each}\n    steps: [{{run: x}}]\n" for each in RUNS_ON),
    *map(of_step, STEPS),
    *map(of_event, EVENTS),
    *WHOLE,
)
FILE_DIFFERENCES = {
    of_job("env: ${{ fromJSON('{}') }}"): "npm's converter stops at it; GitHub's server takes it",
    of_job("strategy: {matrix: {a: []}}"): "npm has no matrix; GitHub's server refuses it",
    of_job("strategy: {matrix: {}}"): "the same",
    of_job("env: {A: !!int x}"): "npm lets the tag pass; GitHub's reader refuses the value",
    of_step("{uses: a/b}"): "npm does not look at the reference; GitHub's server does",
    of_step("{run: x, background: true}"): "npm hides steps side by side behind a switch",
    of_step("{run: x, id: a}, {wait: a}"): "the same",
    of_step("{wait-all: }"): "the same",
    of_step("{run: x, id: a}, {cancel: a}"): "the same",
    of_event("{push: {foo: x}}"): "npm is an editor's; GitHub ignores a filter it does not know",
    of_event("{pull_request: {types: [foo]}}"): "the same",
    of_event("{workflow_dispatch: {foo: x}}"): "the same",
    of_event("{workflow_dispatch: {inputs: {a: {default: 1}}}}"): "GitHub takes it for text",
    of_event(
        "{workflow_dispatch: {inputs: {a: }}}"
    ): "npm wants a mapping, GitHub's server does not",
    of_event("{workflow_call: {inputs: {a: {type: number, default: x}}}}"): "npm does not look",
    "on: push\njobs:\n  a: {runs-on: x}\n": "npm knows no required steps; GitHub refuses it",
    "on: push\njobs:\n  a: {runs-on: x, steps: []}\n": "the same",
    "on: push\njobs:\n  a: {uses: x}\n": "npm does not look at the reference",
    of_step("{run:\tx}"): "PyYAML takes no tab after a key's colon",
    f"on: push\njobs:\n  a:\n{JOB}  b:\n    needs: A\n{JOB}": (
        "npm minds the case of what is needed; GitHub's server does not"
    ),
}


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    asked = [*expressions(), *EXPRESSION_DIFFERENCES]
    files = [*FILES, *FILE_DIFFERENCES]
    of_expressions, of_files = answers(expressions=asked, contexts=CONTEXTS, files=files)
    return (
        dict(zip(asked, of_expressions, strict=True)),
        dict(zip(files, of_files, strict=True)),
    )


def evaluated(expression: str) -> dict[str, Any]:
    try:
        node = parse(expression, contexts=CONTEXTS)
        return {"value": plain(node.value(Scope(contexts=CONTEXTS)))}
    except ExpressionError as error:
        return {"error": error.kind}


def plain(value: Any) -> Any:
    """With numbers as JavaScript has them, told from booleans."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (type(value).__name__, value)
    if math.isfinite(value):
        return ("number", float(value))
    return {"number": ("str", "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity")}


def agrees(expression: str, theirs: dict[str, Any]) -> bool:
    wanted = {"error": theirs["error"]} if "error" in theirs else {"value": plain(theirs["value"])}
    return evaluated(expression) == wanted


def test_expressions_come_to_what_github_makes_of_them(reference: Any) -> None:
    of_expressions, _ = reference
    assert len(of_expressions) > 18_000
    differing = {
        expression: (theirs, evaluated(expression))
        for expression, theirs in of_expressions.items()
        if expression not in EXPRESSION_DIFFERENCES and not agrees(expression, theirs)
    }
    assert differing == {}


def test_each_difference_of_an_expression_is_still_one(reference: Any) -> None:
    of_expressions, _ = reference
    assert [each for each in EXPRESSION_DIFFERENCES if agrees(each, of_expressions[each])] == []


def read(text: str) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the twin refuses it, and the jobs of one that it takes."""
    try:
        workflow = read_workflow(text, file_name="ci.yml")
    except WorkflowError:
        return True, []
    return False, [{"key": key, "needs": list(job.needs)} for key, job in workflow.jobs.items()]


def takes_alike(text: str, theirs: dict[str, Any]) -> bool:
    refused = bool(theirs["errors"])
    return read(text) == (refused, [] if refused else theirs["jobs"])


def test_files_are_refused_and_read_as_github_does(reference: Any) -> None:
    _, of_files = reference
    differing = {
        text: (of_files[text], read(text))
        for text in FILES
        if text not in FILE_DIFFERENCES and not takes_alike(text, of_files[text])
    }
    assert differing == {}
    refused = [text for text in FILES if of_files[text]["errors"]]
    assert 60 < len(refused) < len(FILES) - 30


def test_each_difference_of_a_file_is_still_one(reference: Any) -> None:
    _, of_files = reference
    assert [text for text in FILE_DIFFERENCES if takes_alike(text, of_files[text])] == []

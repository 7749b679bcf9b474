"""JSONata 2.0.6 itself, the version that Step Functions implements, run by Node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator import expressions, jsonata_functions

ENVIRONMENT = Path(sys.prefix)
_EVALUATE = """
const crypto = require('crypto');
const jsonata = require('jsonata');
const functions = (millis, random, uuid) => ({
  millis: () => millis,
  random: () => random,
  uuid: () => uuid,
  parse: (text) => {
    if (text !== undefined && typeof text !== 'string') throw new Error('not a string');
    return text === undefined ? undefined : JSON.parse(text);
  },
  hash: (source, algorithm) => source === undefined ? undefined
    : crypto.createHash(algorithm.replace('SHA-', 'SHA'))
      .update(typeof source === 'string' ? source : JSON.stringify(source)).digest('hex'),
});
const holds = (value) => typeof value === 'number' ? isFinite(value) : typeof value !== 'function'
  && (typeof value !== 'object' || value === null || Object.values(value).every(holds));
const answer = async ({expression, variables}, pinned) => {
  try {
    const value = await jsonata(expression).evaluate(undefined, {...pinned, ...variables});
    return value !== undefined && holds(value) ? {value} : {error: 'no JSON'};
  } catch (error) {
    return {error: `${error.code || ''}: ${error.message}`};
  }
};
const main = async () => {
  const {cases, millis, random, uuid} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const answers = [];
  for (const each of cases) {
    answers.push(await answer(each, functions(millis, random, uuid)));
  }
  process.stdout.write(JSON.stringify(answers));
};
main();
"""
_PARSE = """
const jsonata = require('jsonata');
const refusal = (expression) => {
  try {
    jsonata(expression);
    return null;
  } catch (error) {
    return `${error.code}: ${error.message}`;
  }
};
const expressions = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(expressions.map(refusal)));
"""


@dataclass(frozen=True)
class Case:
    """An expression, and the variables that it is evaluated over."""

    expression: str
    variables: Mapping[str, Any]


def answers(
    cases: Sequence[Case], *, millis: int = 0, random: float = 0, uuid: str = ""
) -> list[dict[str, Any]]:
    """What it makes of each: ``{"value": …}``, or ``{"error": …}`` for one that JSON cannot hold.

    Args:
        cases: What is evaluated.
        millis: What ``$millis()`` is.
        random: What ``$random()`` is.
        uuid: What ``$uuid()`` is.
    """
    given = {"cases": [asdict(case) for case in cases]}
    found: list[dict[str, Any]] = _run(
        _EVALUATE, {**given, "millis": millis, "random": random, "uuid": uuid}
    )
    return found


def differences(
    cases: Sequence[Case], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Case, dict[str, Any], dict[str, Any]]]:
    """The cases of which the emulator makes something else, with both answers.

    An error is an error, whatever its words are.
    """
    millis, chance, name = 1_764_500_000_123, 0.25, "0b62fa77-9f60-4f39-9c69-2a9c38a6e9b1"
    monkeypatch.setattr(
        jsonata_functions, "time", SimpleNamespace(time_ns=lambda: millis * 1_000_000)
    )
    monkeypatch.setattr(jsonata_functions, "random", SimpleNamespace(random=lambda: chance))
    monkeypatch.setattr(jsonata_functions, "uuid", SimpleNamespace(uuid4=lambda: name))
    theirs = answers(cases, millis=millis, random=chance, uuid=name)
    return [
        (case, their, our)
        for case, their in zip(cases, theirs, strict=True)
        if not _agree(their, our := _emulated(case))
    ]


def _emulated(case: Case) -> dict[str, Any]:
    try:
        return {"value": expressions.evaluate(case.expression, case.variables)}
    except (expressions.EvaluationError, expressions.ParseError) as error:
        return {"error": str(error)}


def _agree(their: dict[str, Any], our: dict[str, Any]) -> bool:
    if "error" in their or "error" in our:
        return their.keys() == our.keys()
    return _same(their["value"], our["value"])


def _same(one: Any, other: Any) -> bool:
    """Whether JSON has one text for both."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    numbers = (int, float)
    alike = isinstance(one, numbers) and isinstance(other, numbers)
    return (alike or type(one) is type(other)) and bool(one == other)


def refusals(texts: list[str]) -> list[str | None]:
    """What it has against each expression; ``None`` for those that it can read."""
    found: list[str | None] = _run(_PARSE, texts)
    return found


def _run(script: str, given: Any) -> Any:
    assert (ENVIRONMENT / "node_modules" / "jsonata").is_dir(), (
        "there is no jsonata beside the tests' Python: tools/setup_environment.py installs it"
    )
    answer = subprocess.run(
        [ENVIRONMENT / "node" / "node", "-e", script],
        cwd=ENVIRONMENT,  # what require() starts from
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout)

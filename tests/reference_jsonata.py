"""JSONata 2.0.6 itself, the version that Step Functions implements, run by Node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(sys.prefix)
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


def refusals(expressions: list[str]) -> list[str | None]:
    """What it has against each expression; ``None`` for those that it can read."""
    assert (ENVIRONMENT / "node_modules" / "jsonata").is_dir(), (
        "there is no jsonata beside the tests' Python: tools/setup_environment.py installs it"
    )
    answer = subprocess.run(
        [ENVIRONMENT / "node" / "node", "-e", _PARSE],
        cwd=ENVIRONMENT,  # what require() starts from
        input=json.dumps(expressions),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str | None] = json.loads(answer.stdout)
    return found

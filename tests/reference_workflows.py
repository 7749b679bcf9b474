"""GitHub's own readers of expressions and of workflow files, from npm, run by Node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ENVIRONMENT = Path(sys.prefix)

# Plain Node refuses the parser's imports of JSON, which have no attribute: a hook hands them over.
_READ = """
import fs from "node:fs";
import {registerHooks} from "node:module";
import {pathToFileURL} from "node:url";
registerHooks({
  load: (url, context, next) =>
    url.endsWith(".json")
      ? {
          format: "module",
          shortCircuit: true,
          source: `export default ${fs.readFileSync(new URL(url), "utf8")}`,
        }
      : next(url, context),
});
const folder = `${process.cwd()}/node_modules/@actions`;
const load = (name) => import(pathToFileURL(`${folder}/${name}/dist/index.js`).href);
const {data, Evaluator, Lexer, Parser} = await load("expressions");
const {convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow} =
  await load("workflow-parser");

// npm writes a number into text as JavaScript does; GitHub's server and runner as .NET's `G15`.
data.NumberData.prototype.coerceString = function () {
  const {value} = this;
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const [digits, power] = value.toExponential(14).split("e").map(Number);
  if (power > -5 && power < 15) return String(Number(value.toPrecision(15)));
  return `${digits}E${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
};
const plain = (value) => {
  switch (value.kind) {
    case data.Kind.Null:
      return null;
    case data.Kind.Array:
      return value.values().map(plain);
    case data.Kind.Dictionary:
      return Object.fromEntries(value.pairs().map((pair) => [pair.key, plain(pair.value)]));
    case data.Kind.Number:
      return Number.isFinite(value.value) ? value.value : {number: String(value.value)};
    default:
      return value.value;
  }
};
const evaluated = (expression, contexts) => {
  let stage = "lexing";
  try {
    const {tokens} = new Lexer(expression).lex();
    stage = "parsing";
    const tree = new Parser(tokens, Object.keys(contexts), []).parse();
    stage = "evaluation";
    const known = JSON.parse(JSON.stringify(contexts), data.reviver);
    const value = tree ? new Evaluator(tree, known).evaluate() : new data.Null();
    return {value: plain(value)};
  } catch (error) {
    return {error: stage, message: error.message};
  }
};
const read = async (content) => {
  const file = {name: "ci.yml", content};
  const {context, value} = parseWorkflow(file, new NoOperationTraceWriter());
  const options = {errorPolicy: 1};
  const template = value ? await convertWorkflowTemplate(context, value, undefined, options) : {};
  return {
    errors: context.errors.getErrors().map((error) => error.message),
    jobs: (template.jobs ?? []).map((job) => ({
      key: job.id.value,
      needs: (job.needs ?? []).map((need) => need.value),
    })),
  };
};
const asked = JSON.parse(fs.readFileSync(0, "utf8"));
const answer = {expressions: [], files: []};
for (const expression of asked.expressions) {
  answer.expressions.push(evaluated(expression, asked.contexts));
}
for (const content of asked.files) {
  answer.files.push(await read(content));
}
process.stdout.write(JSON.stringify(answer));
"""


def answers(
    *, expressions: list[str], contexts: dict[str, Any], files: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What it makes of expressions and of workflow files, in one process.

    Of an expression its ``value``, or the stage of its ``error``; of a file its ``errors`` and
    its ``jobs``.
    """
    assert (ENVIRONMENT / "node_modules" / "@actions" / "workflow-parser").is_dir(), (
        "there are no GitHub packages beside the tests' Python: tools/setup_environment.py "
        "installs them"
    )
    answer = subprocess.run(
        [ENVIRONMENT / "node" / "node", "--input-type=module", "-e", _READ],
        cwd=ENVIRONMENT,
        input=json.dumps({"expressions": expressions, "contexts": contexts, "files": files}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(answer.stdout)
    return found["expressions"], found["files"]

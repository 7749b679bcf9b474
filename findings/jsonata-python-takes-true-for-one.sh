#!/usr/bin/env bash
# jsonata-python finds true in a list of numbers
#
# Expected: true in [1] is false and $distinct([true, 1]) keeps both, for JSONata's values have
# types; npm jsonata 2.0.6 says so, while true = 1 is false in both.
# Seen: PyPI jsonata-python 0.7.1 says true, and $distinct drops the 1: Python holds True for
# equal to 1.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet jsonata-python==0.7.1
npm install --silent --no-audit --no-fund jsonata@2.0.6 > install.log 2>&1
cat > theirs.js <<'JS'
const jsonata = require("jsonata");
(async () => {
  const results = [];
  for (const text of process.argv.slice(2)) results.push(JSON.stringify(await jsonata(text).evaluate()));
  console.log(results.join(" "));
})();
JS
cat > seen.py <<'PY'
import json
import sys

from jsonata.jsonata import Jsonata

print(*(json.dumps(Jsonata(text).evaluate(None), separators=(",", ":")) for text in sys.argv[1:]))
PY

# shellcheck disable=SC2016 # texts for JSONata
cases=('true in [1]' '$distinct([true, 1])' 'true = 1')
known="npm false [true,1] false, python true true false"
seen="npm $(node theirs.js "${cases[@]}"), python $(env/bin/python seen.py "${cases[@]}")"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

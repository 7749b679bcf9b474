#!/usr/bin/env bash
# jsonata-python cuts the remainder of a division to an integer
#
# Expected: 5.5 % 2 is 1.5 and -5 % 3 is -2, as JSONata takes the operator from JavaScript; npm
# jsonata 2.0.6, the version that AWS documents for Step Functions, says so.
# Seen: PyPI jsonata-python 0.7.1 says 1 and -2: the remainder loses its fraction, without an
# error. Step Functions' emulation in Python inherits it.
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

known="npm 1.5 -2, python 1 -2"
seen="npm $(node theirs.js '5.5 % 2' '-5 % 3'), python $(env/bin/python seen.py '5.5 % 2' '-5 % 3')"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

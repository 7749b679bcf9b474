#!/usr/bin/env bash
# jsonata-python expands $0 where the pattern is a plain text
#
# Expected: $replace(text, pattern, replacement) expands $0, $1 and so on only if the pattern is a
# regular expression; with a text as pattern the replacement is taken as it is (JSONata docs,
# $replace). npm jsonata 2.0.6 makes X$0 of $replace('a', 'a', 'X$0').
# Seen: PyPI jsonata-python 0.7.1 makes Xa of it. A price or a shell variable in a replacement is
# lost.
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

case="\$replace('a', 'a', 'X\$0')"
# shellcheck disable=SC2016 # a text for JSONata
known='npm "X$0", python "Xa"'
seen="npm $(node theirs.js "$case"), python $(env/bin/python seen.py "$case")"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

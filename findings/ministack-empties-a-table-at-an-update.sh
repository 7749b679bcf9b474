#!/usr/bin/env bash
# ministack empties a table when its stack is updated
#
# Expected: a change of TimeToLiveSpecification of an AWS::DynamoDB::GlobalTable needs no
# interruption (CloudFormation template reference), so the table and its items stay, also if the
# table's name was made by CloudFormation.
# Seen: ministack 1.5.33 makes another table of another name at the update and deletes the first, with
# its items. The stack's update succeeds.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet ministack==1.5.33 boto3==1.43.106

cat > seen.py <<'PY'
import json
import os
import socket
import subprocess
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen(
    [sys.executable, "-m", "ministack"],
    env={
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "0",
        "SFTP_ENABLED": "0",
    },
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)


def client(service):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )



def template(**change):
    table = {
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "Replicas": [{"Region": "us-east-1"}],
        **change,
    }
    resources = {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": table}}
    outputs = {"Name": {"Value": {"Ref": "Table"}}}
    return json.dumps({"Resources": resources, "Outputs": outputs})


def table_of(stack):
    [described] = stack.describe_stacks(StackName="s")["Stacks"]
    return described["StackStatus"], described["Outputs"][0]["OutputValue"]


try:
    for _ in range(300):
        try:
            client("dynamodb").list_tables()
            break
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    stack, tables = client("cloudformation"), client("dynamodb")
    stack.create_stack(StackName="s", TemplateBody=template())
    stack.get_waiter("stack_create_complete").wait(StackName="s", WaiterConfig={"Delay": 1})
    _, before = table_of(stack)
    tables.put_item(TableName=before, Item={"id": {"S": "kept"}})
    lives = {"AttributeName": "until", "Enabled": True}
    stack.update_stack(StackName="s", TemplateBody=template(TimeToLiveSpecification=lives))
    stack.get_waiter("stack_update_complete").wait(StackName="s", WaiterConfig={"Delay": 1})
    status, after = table_of(stack)
    items = tables.scan(TableName=after)["Count"]
    print(status, "same table" if after == before else "another table", items)
finally:
    server.terminate()
    server.wait()
PY
known="UPDATE_COMPLETE another table 0"
seen="$(env/bin/python seen.py)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

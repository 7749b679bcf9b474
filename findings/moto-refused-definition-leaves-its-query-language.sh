#!/usr/bin/env bash
# moto refuses a good state machine after it has refused another
#
# Expected: CreateStateMachine that is refused changes nothing: a JSONPath definition that was
# taken before is taken again after a JSONata definition with a mistake was refused.
# Seen: moto 5.2.5 refuses it then, and any other JSONPath definition in that process: its parser
# keeps the query languages of scopes in one list of the class, which a refusal leaves filled. In
# a test run the failing test is another than the guilty one.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet 'moto[stepfunctions]==5.2.5' boto3==1.43.106
cat > seen.py <<'PY'
import json
import os

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

os.environ.update(
    AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1"
)
GOOD = {
    "StartAt": "Go",
    "States": {"Go": {"Type": "Pass", "Parameters": {"a.$": "$.a"}, "End": True}},
}
BAD = {
    "QueryLanguage": "JSONata",
    "StartAt": "Go",
    "States": {"Go": {"Type": "Pass", "Parameters": {}, "End": True}},
}


@mock_aws(config={"stepfunctions": {"execute_state_machine": True}})
def create(*definitions: object) -> list[str]:
    states = boto3.client("stepfunctions")
    answers = []
    for number, definition in enumerate(definitions):
        try:
            states.create_state_machine(
                name=f"machine{number}",
                definition=json.dumps(definition),
                roleArn="arn:aws:iam::123456789012:role/machine",
            )
            answers.append("taken")
        except ClientError:
            answers.append("refused")
    return answers


print(*create(GOOD, BAD, GOOD))
PY
known="taken refused refused"
seen="$(env/bin/python seen.py 2> /dev/null)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

#!/usr/bin/env bash
# ministack asks for GetParameters on everything, whatever is named
#
# Expected: ssm:GetParameters is authorized on each parameter that the request names, as
# GetParameter is on its one (Service Authorization Reference, AWS Systems Manager).
# Seen: ministack 1.5.33 with AUTH=true authorizes GetParameters on "*" and
# GetParameter on the parameter's ARN. A policy that allows both actions on one parameter, and needs
# no more on AWS, gets the one and is denied the other.
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
        "AUTH": "true",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "0",
        "SFTP_ENABLED": "0",
    },
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)


def client(service, key_id="123456789012", secret="none"):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )


try:
    for _ in range(300):
        try:
            client("ssm").describe_parameters()
            break
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    client("ssm").put_parameter(Name="size", Value="1", Type="String")
    iam = client("iam")
    iam.create_user(UserName="reader")
    statement = {
        "Effect": "Allow",
        "Action": ["ssm:GetParameter", "ssm:GetParameters"],
        "Resource": "arn:aws:ssm:us-east-1:*:parameter/size",
    }
    iam.put_user_policy(
        UserName="reader",
        PolicyName="read",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = client("ssm", key_id=key["AccessKeyId"], secret=key["SecretAccessKey"])

    one = reader.get_parameter(Name="size")["Parameter"]["Value"]
    try:
        several = reader.get_parameters(Names=["size"])["Parameters"][0]["Value"]
    except ClientError as error:
        several = error.response["Error"]["Code"]
    print(one, several)
finally:
    server.terminate()
    server.wait()
PY
known="1 AccessDeniedException"
seen="$(env/bin/python seen.py)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

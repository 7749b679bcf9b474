#!/usr/bin/env bash
# ministack takes an event whose detail is no JSON
#
# Expected: PutEvents answers 200 and marks an entry whose Detail is no JSON object as failed,
# with the code MalformedDetail: which is why a caller has to read FailedEntryCount (EventBridge
# API reference).
# Seen: ministack 1.5.33 answers FailedEntryCount 0 and an event id. The handling of failed
# entries cannot be tried there with the plainest of them.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet ministack==1.5.33 boto3==1.43.106

cat > seen.py <<'PY'
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


try:
    for _ in range(300):
        try:
            client("ecs").list_clusters()
            break
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    answer = client("events").put_events(
        Entries=[{"Source": "fleet", "DetailType": "job", "Detail": "not json"}]
    )
    print(answer["FailedEntryCount"], sorted(answer["Entries"][0]))
finally:
    server.terminate()
    server.wait()
PY
known="0 ['EventId']"
seen="$(env/bin/python seen.py)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

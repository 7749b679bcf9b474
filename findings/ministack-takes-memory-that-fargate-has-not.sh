#!/usr/bin/env bash
# ministack registers a size that Fargate does not have
#
# Expected: RegisterTaskDefinition for FARGATE with 512 CPU units takes 1024, 2048, 3072 or 4096
# MiB and refuses all else with ClientException (ECS developer guide, task CPU and memory).
# Seen: ministack 1.5.33 registers 512 CPU units with 9999 MiB for FARGATE, and runs it.
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
    ecs = client("ecs")
    ecs.create_cluster(clusterName="fleet")
    ecs.register_task_definition(
        family="job",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="512",
        memory="9999",
        containerDefinitions=[{"name": "job", "image": "job"}],
        tags=[{"key": "team", "value": "build"}],
    )

    task = ecs.run_task(
        cluster="fleet",
        taskDefinition="job",
        launchType="FARGATE",
        propagateTags="TASK_DEFINITION",
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    )["tasks"][0]

    print(task["cpu"], task["memory"], task["lastStatus"])
finally:
    server.terminate()
    server.wait()
PY
known="512 9999 RUNNING"
seen="$(env/bin/python seen.py)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"

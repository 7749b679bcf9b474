"""Runner classes of several sizes: one has an image and a role of its own."""

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3

from cdk_runner_fleet import GitHub, RunnerClass, RunnerFleet, RunnerImage

app = cdk.App()
stack = cdk.Stack(app, "Runners")
fleet = RunnerFleet(
    stack,
    "Fleet",
    github=GitHub.repository("octo-org/octo-repo"),
    classes={
        "small": RunnerClass(cpu=512, memory=1024),
        "deploy": RunnerClass(
            cpu=1024,
            memory=2048,
            architecture="ARM64",
            capacity=["FARGATE_SPOT", "FARGATE"],
            image=RunnerImage.built(variant="python"),
        ),
    },
)
s3.Bucket(stack, "Releases").grant_read_write(fleet.runner_class("deploy"))
app.synth()

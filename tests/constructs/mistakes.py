"""What a user's editor should find: each line is a mistake, and ``make types`` says so.

mypy reads this file as it would a user's. A mistake that it does not find leaves an ignore unused,
which is an error, and another one than is named would be one too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_efs as efs

from cdk_runner_fleet import (
    Architecture,
    CapacityProvider,
    ClassRunners,
    EfsMount,
    FleetDashboard,
    FunctionOptions,
    GitHub,
    ImageVariant,
    LifecycleTimeouts,
    Reconciliation,
    RegisterFor,
    RunnerClass,
    RunnerFleet,
    RunnerFleetStack,
    RunnerImage,
    RunnerLimits,
    Webhook,
)

Mistake = Callable[[cdk.Stack], object]


def misspelled_prop(stack: cdk.Stack) -> object:
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), max_runner=5)  # type: ignore[call-arg]


def prop_by_place(stack: cdk.Stack) -> object:
    return RunnerFleet(stack, "Fleet", GitHub.repository("o/r"))  # type: ignore[call-arg]


def number_for_text(stack: cdk.Stack) -> object:
    return GitHub.repository(5)  # type: ignore[arg-type]


def id_for_construct(stack: cdk.Stack) -> object:
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), vpc="vpc-1")  # type: ignore[arg-type]


def value_for_secret(stack: cdk.Stack) -> object:
    return GitHub.repository("o/r", token="t")  # type: ignore[arg-type]


def no_such_registration(stack: cdk.Stack) -> object:
    return GitHub.organization("o", register_for="org")  # type: ignore[arg-type]


def group_of_a_repository(stack: cdk.Stack) -> object:
    return GitHub.repository("o/r", runner_group="g")  # type: ignore[call-arg]


def app_for_an_enterprise(stack: cdk.Stack) -> object:
    return GitHub.enterprise("e", apps=[])  # type: ignore[call-arg]


def repository_for_github(stack: cdk.Stack) -> object:
    return RunnerFleet(stack, "Fleet", github="o/r")  # type: ignore[arg-type]


def seconds_for_duration(stack: cdk.Stack) -> object:
    return LifecycleTimeouts(boot=300)  # type: ignore[arg-type]


def mapping_for_class(stack: cdk.Stack) -> object:
    size = {"cpu": 512, "memory": 1024}
    return RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository("o/r"),
        classes={"small": size},  # type: ignore[dict-item]
    )


def text_for_number(stack: cdk.Stack) -> object:
    return RunnerClass(cpu="512", memory=1024)  # type: ignore[arg-type]


def no_such_architecture(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512, memory=1024, architecture="arm64")  # type: ignore[arg-type]


def no_such_capacity(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512, memory=1024, capacity=["SPOT"])  # type: ignore[list-item]


def no_such_variant(stack: cdk.Stack) -> object:
    return RunnerImage.built(variant="pyton")  # type: ignore[arg-type]


def packages_in_a_ready_image(stack: cdk.Stack) -> object:
    return RunnerImage.ready("ghcr.io/o/r:1", apt_packages=["jq"])  # type: ignore[call-arg]


def image_of_no_factory(stack: cdk.Stack) -> object:
    return RunnerImage()  # type: ignore[abstract]


def image_by_its_name(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512, memory=1024, image="python")  # type: ignore[arg-type]


def seconds_of_a_class(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512, memory=1024, boot_timeout=300)  # type: ignore[arg-type]


def text_for_storage(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512, memory=1024, ephemeral_storage="50")  # type: ignore[arg-type]


def id_for_file_system(stack: cdk.Stack) -> object:
    return EfsMount(file_system="fs-1", path="/mnt/cache")  # type: ignore[arg-type]


def mount_without_a_path(stack: cdk.Stack) -> object:
    vpc = ec2.Vpc(stack, "Vpc")
    return EfsMount(file_system=efs.FileSystem(stack, "Cache", vpc=vpc))  # type: ignore[call-arg]


def misspelled_field_of_a_class(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512, memory=1024, max_runner=5)  # type: ignore[call-arg]


def class_without_a_size(stack: cdk.Stack) -> object:
    return RunnerClass(cpu=512)  # type: ignore[call-arg]


def text_for_a_budget(stack: cdk.Stack) -> object:
    return RunnerLimits(daily_budget_usd="50")  # type: ignore[arg-type]


def limits_as_mapping(stack: cdk.Stack) -> object:
    limits = {"max_runners": 5}
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), limits=limits)  # type: ignore[arg-type]


def minutes_for_duration(stack: cdk.Stack) -> object:
    return Reconciliation(every=5)  # type: ignore[arg-type]


def days_for_retention(stack: cdk.Stack) -> object:
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), log_retention=30)  # type: ignore[arg-type]


def text_for_tracing(stack: cdk.Stack) -> object:
    return FunctionOptions(tracing="Active")  # type: ignore[arg-type]


def network_for_networks(stack: cdk.Stack) -> object:
    return Webhook(allowed_cidrs=5)  # type: ignore[arg-type]


def name_for_repository(stack: cdk.Stack) -> object:
    return RunnerImage.from_ecr_repository("runner")  # type: ignore[arg-type]


def app_without_a_name(stack: cdk.Stack) -> object:
    return GitHub.organization("o", apps=[123456])  # type: ignore[list-item]


def arn_for_topic(stack: cdk.Stack) -> object:
    fleet = RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"))
    return fleet.add_alarms("arn:aws:sns:eu-west-3:123456789012:alarms")  # type: ignore[arg-type]


def name_for_fleet(stack: cdk.Stack) -> object:
    return FleetDashboard(stack, "Dashboard", fleet="prod")  # type: ignore[arg-type]


def misspelled_metric(stack: cdk.Stack) -> object:
    fleet = RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"))
    return fleet.metric_runner_failed()  # type: ignore[attr-defined]


def misspelled_option(stack: cdk.Stack) -> object:
    fleet = RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"))
    return fleet.metric_jobs_lost(perod=cdk.Duration.hours(1))  # type: ignore[call-arg]


def text_for_switch(stack: cdk.Stack) -> object:
    stack.node.set_context("github_repo", "o/r")
    return RunnerFleetStack(stack, "Inner", termination_protection="yes")  # type: ignore[arg-type]


MISTAKES: Sequence[Mistake] = (
    misspelled_prop,
    prop_by_place,
    number_for_text,
    id_for_construct,
    value_for_secret,
    no_such_registration,
    group_of_a_repository,
    app_for_an_enterprise,
    repository_for_github,
    seconds_for_duration,
    mapping_for_class,
    text_for_number,
    no_such_architecture,
    no_such_capacity,
    no_such_variant,
    packages_in_a_ready_image,
    image_of_no_factory,
    image_by_its_name,
    seconds_of_a_class,
    text_for_storage,
    misspelled_field_of_a_class,
    class_without_a_size,
    text_for_a_budget,
    limits_as_mapping,
    minutes_for_duration,
    days_for_retention,
    text_for_tracing,
    network_for_networks,
    name_for_repository,
    app_without_a_name,
    arn_for_topic,
    name_for_fleet,
    misspelled_metric,
    misspelled_option,
    text_for_switch,
    id_for_file_system,
    mount_without_a_path,
)


def none(
    stack: cdk.Stack,
    *,
    architecture: Architecture,
    capacity: Sequence[CapacityProvider],
    variant: ImageVariant,
    register_for: RegisterFor,
) -> RunnerFleet:
    """What is right, with values that a user's own constructs were given."""
    fleet = RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.organization("o", register_for=register_for),
        classes={
            "one": RunnerClass(cpu=512, memory=1024, architecture=architecture, capacity=capacity)
        },
        image=RunnerImage.built(variant=variant),
    )
    ecr.Repository(stack, "Images").grant_pull(fleet)
    runners: ClassRunners = fleet.runner_class("one")
    ecr.Repository(stack, "Results").grant_pull(runners)
    return fleet

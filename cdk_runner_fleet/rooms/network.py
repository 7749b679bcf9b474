"""The network that runners are in: its VPC, their subnets, and who reaches them."""

from __future__ import annotations

from collections.abc import Sequence

import jsii
from aws_cdk import Annotations, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cdk_runner_fleet._nag import acknowledge

_MOST_SUBNETS, _MOST_SECURITY_GROUPS = 16, 5
"""ECS API reference, ``AwsVpcConfiguration``."""


@jsii.implements(ec2.IConnectable)
class RunnerNetwork(Construct):
    """Subnets and security groups of the runners, in a VPC that is given or made.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        vpc: VPC of the runners. Default: a small one is made, unless ``vpc_subnets`` names subnets.
        vpc_subnets: Subnets of the runners: some of ``vpc``, or subnets by themselves. Default: the
            public subnets of ``vpc`` if ``assign_public_ip``, else its private ones with egress.
        security_groups: Security groups of the runners. Default: one without an inbound rule is
            made.
        assign_public_ip: Whether a runner has a public IPv4 address. Without one its subnets need a
            NAT gateway or the like to reach GitHub.

    Attributes:
        vpc: The VPC, given or made; None if nothing but subnets of an unknown one are given.
        subnet_ids: The subnets' ids.

    Raises:
        ValueError: if no task could start in such a network: subnets or security groups that lack
            the other or a ``vpc``, more of them than a task can have, subnets of another VPC or
            without a way out, a ``vpc`` without the subnets that are wanted of it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        assign_public_ip: bool = True,
    ) -> None:
        super().__init__(scope, construct_id)
        named = list((vpc_subnets.subnets if vpc_subnets else None) or ())
        groups = list(security_groups or ())
        _check_together(vpc, vpc_subnets, named, groups, public=assign_public_ip)
        self.assign_public_ip = assign_public_ip
        if vpc is None and not named:
            vpc = small_vpc(self, "Vpc")
        for subnet in named:
            vpc = _vpc_of(subnet, vpc)
        self.vpc = vpc
        self.subnet_ids = (
            self.select(vpc_subnets)
            if vpc_subnets
            else [one.subnet_id for one in _usual(vpc, public=assign_public_ip)]
        )
        _check_number("security_groups", len(groups), most=_MOST_SECURITY_GROUPS)
        for group in groups:
            _check_vpc(group, self.vpc)
        self.security_groups = groups or [self._security_group(vpc)]
        self._connections = ec2.Connections(security_groups=self.security_groups)

    @property
    def connections(self) -> ec2.Connections:
        """The runners' network connections."""
        return self._connections

    def select(self, vpc_subnets: ec2.SubnetSelection) -> list[str]:
        """The ids of some subnets in which runners may be.

        Raises:
            ValueError: if no task could start there.
        """
        named = list(vpc_subnets.subnets or ())
        for subnet in named:
            _vpc_of(subnet, self.vpc)
        subnets = named or _selected(self.vpc, vpc_subnets)
        _check_number("vpc_subnets", len(subnets), most=_MOST_SUBNETS)
        if self.vpc:
            self._check_ways_out(self.vpc, subnets)
        return [subnet.subnet_id for subnet in subnets]

    def another_security_group(self, scope: Construct, construct_id: str) -> ec2.SecurityGroup:
        """A security group for some of the runners, besides those that all are in.

        Raises:
            ValueError: if the VPC is not known, or a task cannot be in one more.
        """
        if self.vpc is None:
            raise ValueError(
                "a security group of a class is made in the fleet's vpc, and only subnets are "
                "given: give the vpc with them"
            )
        _check_number(
            "security_groups, with one for a class,",
            len(self.security_groups) + 1,
            most=_MOST_SECURITY_GROUPS,
        )
        return ec2.SecurityGroup(
            scope,
            construct_id,
            vpc=self.vpc,
            description="cdk-runner-fleet: runners of a class, for who lets them in",
        )

    def _security_group(self, vpc: ec2.IVpc | None) -> ec2.ISecurityGroup:
        assert vpc is not None  # noqa: S101 - subnets alone have their groups with them
        return ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="cdk-runner-fleet: runners reach out, nothing reaches them",
        )

    def _check_ways_out(self, vpc: ec2.IVpc, subnets: Sequence[ec2.ISubnet]) -> None:
        public, isolated = (
            {one.node.path for one in each} for each in (vpc.public_subnets, vpc.isolated_subnets)
        )
        for path in (subnet.node.path for subnet in subnets):
            if not self.assign_public_ip and path in public:
                raise ValueError(
                    f"subnet {path} is public and assign_public_ip is off, so that nothing of a "
                    "task in it reaches GitHub: give private subnets with a NAT gateway, or leave "
                    "assign_public_ip on"
                )
            if path in isolated:
                # no error: a way by a transit gateway is none that the CDK knows of
                Annotations.of(self).add_warning_v2(
                    "cdk-runner-fleet:isolatedSubnet",
                    f"Subnet {path} is isolated: unless a route of your own leads from there to "
                    "GitHub, no runner will register. Give subnets with egress.",
                )


def small_vpc(
    scope: Construct, construct_id: str, *, availability_zones: Sequence[str] = ()
) -> ec2.Vpc:
    """Make a VPC for runners that have public addresses: nothing in it costs anything by itself.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        availability_zones: Names of the zones that it is made in. Fargate is not in every zone of
            some regions (ECS Developer Guide, "Supported Regions for Amazon ECS on AWS Fargate").
            Default: the region's first two.
    """
    # a NAT gateway costs more than 33,000 five-minute jobs a month; runners only reach out, so a
    # public address without an inbound rule serves them
    vpc = ec2.Vpc(
        scope,
        construct_id,
        availability_zones=list(availability_zones) or None,
        max_azs=None if availability_zones else 2,
        nat_gateways=0,
        restrict_default_security_group=False,
        subnet_configuration=[
            ec2.SubnetConfiguration(
                name="Runners",
                subnet_type=ec2.SubnetType.PUBLIC,
                cidr_mask=20,
                map_public_ip_on_launch=False,  # a task is given its address when it is launched
            )
        ],
    )
    acknowledge(
        vpc,
        "VPC7",
        reason="The VPC made by default holds nothing but runners without an inbound rule; flow "
        "logs are billed by volume. Pass a vpc that has them where they are wanted.",
    )
    return vpc


def _check_together(
    vpc: ec2.IVpc | None,
    vpc_subnets: ec2.SubnetSelection | None,
    named: Sequence[ec2.ISubnet],
    security_groups: Sequence[ec2.ISecurityGroup],
    *,
    public: bool,
) -> None:
    if vpc is not None:
        return
    if vpc_subnets and not named:
        raise _nothing_to_select_from()
    if named and not security_groups:
        raise ValueError(
            f"vpc_subnets has {len(named)} and security_groups none, name at least one security "
            "group of the subnets' VPC, or give vpc so that one can be made"
        )
    if security_groups and not named:
        raise ValueError(
            f"{len(security_groups)} security_groups are given and neither vpc_subnets nor vpc, "
            "and the VPC that would be made has none of them: give the vpc that they are of"
        )
    if not public and not named:
        raise ValueError(
            "assign_public_ip is off and neither vpc nor vpc_subnets are given, and the VPC that "
            "would be made has no other way out: give a vpc with a NAT gateway, or leave it on"
        )


def _nothing_to_select_from() -> ValueError:
    return ValueError(
        "vpc_subnets selects subnets and no vpc is given to select them from: give the vpc, or "
        "the subnets themselves, ec2.SubnetSelection(subnets=[…])"
    )


def _check_number(name: str, given: int, *, most: int) -> None:
    if given > most:
        raise ValueError(
            f"{name} has {given}, and a task of Fargate takes {most}: leave out {given - most}"
        )


def _vpc_of(subnet: ec2.ISubnet, vpc: ec2.IVpc | None) -> ec2.IVpc | None:
    parent = subnet.node.scope
    if not isinstance(parent, ec2.Vpc):
        return vpc
    if vpc is not None and vpc.node.path != parent.node.path:
        raise ValueError(
            f"subnet {subnet.node.path} is of {parent.node.path}, and vpc is {vpc.node.path}: give "
            "subnets of that VPC, or leave vpc out and give security_groups of theirs"
        )
    return parent


def _check_vpc(group: ec2.ISecurityGroup, vpc: ec2.IVpc | None) -> None:
    """Refuse a security group of another VPC, if both are made in the app or known by their ids."""
    resource = group.node.default_child
    if vpc is None or not isinstance(resource, ec2.CfnSecurityGroup):
        return
    theirs, ours = (Stack.of(group).resolve(one) for one in (resource.vpc_id, vpc.vpc_id))
    is_known = isinstance(ours, str) or isinstance(vpc, ec2.Vpc)
    if is_known and type(theirs) is type(ours) and theirs != ours:
        raise ValueError(
            f"security group {group.node.path} is of another VPC than {vpc.node.path}, and no task "
            "is in groups of two: give security_groups of that vpc"
        )


def _selected(vpc: ec2.IVpc | None, wanted: ec2.SubnetSelection) -> Sequence[ec2.ISubnet]:
    if vpc is None:
        raise _nothing_to_select_from()
    try:
        found = vpc.select_subnets(
            availability_zones=wanted.availability_zones,
            one_per_az=wanted.one_per_az,
            subnet_filters=wanted.subnet_filters,
            subnet_group_name=wanted.subnet_group_name,
            subnet_type=wanted.subnet_type,
        ).subnets
    except RuntimeError as error:
        raise ValueError(
            f"vpc_subnets selects none of vpc {vpc.node.path}: {error}: select some that it has"
        ) from None
    if not found:
        raise ValueError(
            f"vpc_subnets selects none of vpc {vpc.node.path}, so that no runner could start: "
            "select some that it has"
        )
    return found


def _usual(vpc: ec2.IVpc | None, *, public: bool) -> Sequence[ec2.ISubnet]:
    assert vpc is not None  # noqa: S101 - it was made, if none was given
    wanted, other = vpc.public_subnets, vpc.private_subnets
    kind, lacks, remedy = (
        ec2.SubnetType.PUBLIC,
        "no public subnets and assign_public_ip is on",
        "turn assign_public_ip off, runners then take the VPC's private subnets with egress",
    )
    if not public:
        wanted, other = other, wanted
        kind, lacks, remedy = (
            ec2.SubnetType.PRIVATE_WITH_EGRESS,
            "no private subnets with egress and assign_public_ip is off",
            "leave assign_public_ip on, runners then take the VPC's public subnets, or give a vpc "
            "with a NAT gateway",
        )
    if not wanted:
        no_way = (
            "give a vpc with public subnets or a NAT gateway; if a route of your own leads to "
            "GitHub, select the subnets (vpc_subnets=ec2.SubnetSelection(subnet_type="
            "ec2.SubnetType.PRIVATE_ISOLATED), assign_public_ip=False)"
        )
        raise ValueError(
            f"vpc {vpc.node.path} has {lacks}, so that no runner could start: "
            f"{remedy if other else no_way}"
        )
    return vpc.select_subnets(subnet_type=kind).subnets

"""Networks that can start a runner, and those that cannot."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_ec2 as ec2

from cdk_runner_fleet import RunnerFleet
from cdk_runner_fleet.rooms.network import RunnerNetwork, small_vpc

from ..templates import Template, of_type, parts, template_of

PUBLIC, EGRESS, ISOLATED = (
    ec2.SubnetType.PUBLIC,
    ec2.SubnetType.PRIVATE_WITH_EGRESS,
    ec2.SubnetType.PRIVATE_ISOLATED,
)


def network(stack: cdk.Stack, **given: Any) -> RunnerNetwork:
    return RunnerNetwork(stack, "Network", **given)


def vpc_with(stack: cdk.Stack, *kinds: ec2.SubnetType, construct_id: str = "Vpc") -> ec2.Vpc:
    return ec2.Vpc(
        stack,
        construct_id,
        max_azs=2,
        nat_gateways=1 if EGRESS in kinds else 0,
        subnet_configuration=[
            ec2.SubnetConfiguration(name=kind.name.title(), subnet_type=kind) for kind in kinds
        ],
    )


def group(stack: cdk.Stack, number: int = 1) -> ec2.ISecurityGroup:
    return ec2.SecurityGroup.from_security_group_id(stack, f"Group{number}", f"sg-{number}")


def subnet(stack: cdk.Stack, number: int = 1) -> ec2.ISubnet:
    return ec2.Subnet.from_subnet_id(stack, f"Subnet{number}", f"subnet-{number}")


def ids(subnets: list[ec2.ISubnet]) -> list[str]:
    return [each.subnet_id for each in subnets]


def test_default_network_has_no_nat_and_no_inbound_rule(minimal: Template) -> None:
    assert len(of_type(minimal, "AWS::EC2::Subnet")) == 2
    assert of_type(minimal, "AWS::EC2::NatGateway") == []
    [made] = of_type(minimal, "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in made
    assert of_type(minimal, "AWS::EC2::SecurityGroupIngress") == []


def test_the_network_is_made_in_the_zones_that_are_named(stack: cdk.Stack) -> None:
    small_vpc(stack, "Vpc", availability_zones=["us-west-1a", "us-west-1c"])
    subnets = of_type(template_of(stack), "AWS::EC2::Subnet")
    assert [one["AvailabilityZone"] for one in subnets] == ["us-west-1a", "us-west-1c"]


def test_the_vpc_is_the_fleets_whoever_made_it(
    minimal_fleet: RunnerFleet, stack: cdk.Stack
) -> None:
    made = minimal_fleet.vpc
    assert isinstance(made, ec2.Vpc)
    assert minimal_fleet.platform.network.subnet_ids == ids(made.public_subnets)
    given = vpc_with(stack, PUBLIC)
    assert network(stack, vpc=given).vpc is given
    alone = ec2.SubnetSelection(subnets=[subnet(stack)])
    of_nobody = RunnerNetwork(stack, "B", vpc_subnets=alone, security_groups=[group(stack)])
    assert of_nobody.vpc is None
    theirs = ec2.SubnetSelection(subnets=given.public_subnets)
    known = RunnerNetwork(stack, "C", vpc_subnets=theirs, security_groups=[group(stack, 2)])
    assert known.vpc is given


def test_given_subnets_need_no_vpc(organization: Template) -> None:
    assert of_type(organization, "AWS::EC2::VPC") == []
    [machine] = of_type(organization, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["SubnetIds"] == "subnet-1"
    assert machine["DefinitionSubstitutions"]["SecurityGroupIds"] == "sg-1"


@pytest.mark.parametrize(("public", "kind"), [(True, "public"), (False, "private")])
def test_of_a_vpc_those_are_taken_that_have_a_way_out(
    public: bool, kind: str, stack: cdk.Stack
) -> None:
    vpc = vpc_with(stack, PUBLIC, EGRESS, ISOLATED)
    made = network(stack, vpc=vpc, assign_public_ip=public)
    assert made.subnet_ids == ids(getattr(vpc, f"{kind}_subnets"))


def test_subnets_are_selected_as_everywhere_in_the_cdk(stack: cdk.Stack) -> None:
    vpc = vpc_with(stack, PUBLIC, EGRESS, ISOLATED)
    zone = vpc.availability_zones[1]
    selections = {
        "type": ec2.SubnetSelection(subnet_type=EGRESS),
        "group": ec2.SubnetSelection(subnet_group_name="Private_With_Egress"),
        "zone": ec2.SubnetSelection(subnet_type=EGRESS, availability_zones=[zone]),
        "filter": ec2.SubnetSelection(
            subnet_type=EGRESS, subnet_filters=[ec2.SubnetFilter.availability_zones([zone])]
        ),
        "named": ec2.SubnetSelection(subnets=vpc.private_subnets[:1]),
        "one": ec2.SubnetSelection(subnet_type=EGRESS, one_per_az=True),
    }
    every = ids(vpc.private_subnets)
    wanted = {
        "type": every,
        "group": every,
        "zone": every[1:],
        "filter": every[1:],
        "named": every[:1],
        "one": every,
    }
    for name, selection in selections.items():
        made = RunnerNetwork(stack, name, vpc=vpc, vpc_subnets=selection, assign_public_ip=False)
        assert made.subnet_ids == wanted[name], name


@pytest.mark.parametrize(
    ("has", "public", "message"),
    [
        (ISOLATED, True, "no public subnets .* give a vpc with public sub"),
        (ISOLATED, False, "no private subnets with egress .* a route of y"),
        (EGRESS, True, "no public subnets .*: turn assign_public_ip"),
        (PUBLIC, False, "no private subnets .*: leave assign_public_ip on"),
    ],
)
def test_a_vpc_without_the_subnets_that_are_wanted_is_refused_with_the_remedy(
    has: ec2.SubnetType, public: bool, message: str, stack: cdk.Stack
) -> None:
    if has == EGRESS:
        vpc = ec2.Vpc.from_vpc_attributes(
            stack, "Vpc", vpc_id="v", availability_zones=["a"], private_subnet_ids=["s"]
        )
    else:
        vpc = vpc_with(stack, has)
    with pytest.raises(ValueError, match=f"^vpc Test/Vpc has {message}"):
        network(stack, vpc=vpc, assign_public_ip=public)


@pytest.mark.parametrize(
    "wanted",
    [
        ec2.SubnetSelection(subnet_type=ISOLATED),
        ec2.SubnetSelection(subnet_group_name="Databases"),
        ec2.SubnetSelection(subnet_type=PUBLIC, availability_zones=["mars-1a"]),
    ],
    ids=["type", "group", "zone"],
)
def test_a_selection_of_nothing_is_refused(wanted: ec2.SubnetSelection, stack: cdk.Stack) -> None:
    with pytest.raises(
        ValueError, match=r"^vpc_subnets selects none of vpc Test/Vpc.*: select som"
    ):
        network(stack, vpc=vpc_with(stack, PUBLIC), vpc_subnets=wanted)


def test_a_selection_of_no_vpc_is_refused(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match=r"^vpc_subnets selects subnets and no vpc .*subnets=\[…"):
        network(stack, vpc_subnets=ec2.SubnetSelection(subnet_type=EGRESS))


def test_subnets_alone_are_refused_with_the_remedy(stack: cdk.Stack) -> None:
    alone = ec2.SubnetSelection(subnets=[subnet(stack)])
    with pytest.raises(ValueError, match="vpc_subnets has 1 and security_groups none, name at lea"):
        network(stack, vpc_subnets=alone)


def test_subnets_that_are_known_at_deployment_are_joined_then(stack: cdk.Stack) -> None:
    listed = cdk.CfnParameter(stack, "Subnets", type="List<AWS::EC2::Subnet::Id>").value_as_list
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], public_subnet_ids=listed
    )
    made = network(stack, vpc=vpc, security_groups=[group(stack)])
    joined = parts(stack.resolve(cdk.Fn.join(",", made.subnet_ids)))
    assert '"Ref": "Subnets"' in joined
    assert "Token" not in joined


def test_groups_without_their_vpc_are_refused(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match=r"1 security_groups are given and .* give the vpc that"):
        network(stack, security_groups=[group(stack)])


def test_no_public_address_in_a_network_that_is_made_is_refused(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="assign_public_ip is off and neither vpc nor vpc_subnet"):
        network(stack, assign_public_ip=False)


def test_more_than_a_task_can_have_is_refused(stack: cdk.Stack) -> None:
    subnets = [subnet(stack, number) for number in range(17)]
    groups = [group(stack, number) for number in range(6)]
    many = ec2.SubnetSelection(subnets=subnets)
    with pytest.raises(ValueError, match=r"^vpc_subnets has 17, and .* takes 16: leave out 1"):
        network(stack, vpc_subnets=many, security_groups=groups[:1])
    one = ec2.SubnetSelection(subnets=subnets[:1])
    with pytest.raises(ValueError, match=r"^security_groups has 6, .* takes 5"):
        RunnerNetwork(stack, "Other", vpc_subnets=one, security_groups=groups)


@pytest.mark.parametrize("by", ["type", "name"])
def test_subnets_without_a_way_out_are_refused_or_warned_of(by: str, stack: cdk.Stack) -> None:
    vpc = vpc_with(stack, PUBLIC, ISOLATED)

    def selection(kind: ec2.SubnetType, subnets: list[ec2.ISubnet]) -> ec2.SubnetSelection:
        if by == "type":
            return ec2.SubnetSelection(subnet_type=kind)
        return ec2.SubnetSelection(subnets=subnets)

    with pytest.raises(ValueError, match="is public and assign_public_ip is off"):
        network(
            stack,
            vpc=vpc,
            vpc_subnets=selection(PUBLIC, vpc.public_subnets),
            assign_public_ip=False,
        )
    RunnerNetwork(stack, "Alone", vpc=vpc, vpc_subnets=selection(ISOLATED, vpc.isolated_subnets))
    assertions.Annotations.from_stack(stack).has_warning(
        "/Test/Alone", assertions.Match.string_like_regexp("is isolated: unless a route")
    )


def test_subnets_of_another_vpc_are_refused(stack: cdk.Stack) -> None:
    vpc, other = (vpc_with(stack, PUBLIC, construct_id=name) for name in ("Vpc", "Other"))
    theirs = ec2.SubnetSelection(subnets=other.public_subnets)
    with pytest.raises(ValueError, match=r"is of Test/Other, and vpc is Test/Vpc"):
        network(stack, vpc=vpc, vpc_subnets=theirs)


def test_security_groups_of_another_vpc_are_refused(stack: cdk.Stack) -> None:
    vpc, other = (vpc_with(stack, PUBLIC, construct_id=name) for name in ("Vpc", "Other"))
    ours, theirs = (
        ec2.SecurityGroup(stack, name, vpc=of) for name, of in (("Ours", vpc), ("Theirs", other))
    )
    assert network(stack, vpc=vpc, security_groups=[ours]).security_groups == [ours]
    with pytest.raises(ValueError, match=r"^security group Test/Theirs is of another VPC than"):
        RunnerNetwork(stack, "Second", vpc=vpc, security_groups=[ours, theirs])


def test_a_vpc_that_is_imported_may_be_any(stack: cdk.Stack) -> None:
    made = vpc_with(stack, PUBLIC)
    known = ec2.Vpc.from_vpc_attributes(
        stack, "Known", vpc_id="vpc-1", availability_zones=["a"], public_subnet_ids=["subnet-1"]
    )
    assert network(stack, vpc=known, security_groups=[ec2.SecurityGroup(stack, "Any", vpc=made)])


def test_who_reaches_the_runners_is_who_is_let_in(stack: cdk.Stack) -> None:
    made = network(stack, vpc=vpc_with(stack, PUBLIC))
    made.connections.allow_from(ec2.Peer.ipv4("10.0.0.0/8"), ec2.Port.tcp(22))
    [found] = of_type(template_of(stack), "AWS::EC2::SecurityGroup")
    assert [rule["FromPort"] for rule in found["SecurityGroupIngress"]] == [22]

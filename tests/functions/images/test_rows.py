"""What images' rows say, and when they are not written."""

from __future__ import annotations

from ..aws_stand_in import RUNNER
from ..image_fleet import BASE, DAY, TAG, Fleet


def test_a_lease_that_ran_out_without_a_build_is_taken_over(fleet: Fleet) -> None:
    fleet.aws.put_image(
        image_tag=TAG, waiters={RUNNER}, status="BUILDING", lease_expires_at=1, image_base=BASE
    )
    assert fleet.request() == "BUILDING"
    assert fleet.starts == [TAG]


def test_an_image_that_is_wanted_again_is_not_deleted(fleet: Fleet) -> None:
    fleet.build()
    stale = fleet.images.find(TAG)
    fleet.pass_time(60 * DAY)
    fleet.images.used(TAG, at=int(fleet.codebuild.now), runner_version="")
    assert not fleet.images.leave(stale)
    assert fleet.row()["status"] == "READY"


def test_use_is_noted_also_of_an_image_that_the_fleet_does_not_build(fleet: Fleet) -> None:
    images = fleet.images
    images.used("ready-image", at=5, runner_version="2.336.0")
    images.used("ready-image", at=6, runner_version="2.337.0")
    row = fleet.row("ready-image")
    assert (row["used_at"], row["runner_version"]) == (6, "2.337.0")
    assert "status" not in row
    images.used("ready-image", at=7, runner_version="")
    assert fleet.row("ready-image")["runner_version"] == "2.337.0"


def test_a_runner_of_the_build_before_does_not_change_what_is_known_of_this_one(
    fleet: Fleet,
) -> None:
    fleet.build()
    fleet.images.used(TAG, at=5, runner_version="2.330.0")
    row = fleet.row()
    assert (row["used_at"], row["runner_version"]) == (5, "2.338.0")

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.job import labels
from fleet_runtime.job.labels import Refusal, RunnerRequest


def read(*job_labels: object) -> RunnerRequest:
    request = labels.read(job_labels)
    assert isinstance(request, RunnerRequest), request
    return request


def refusal(*job_labels: object) -> str:
    refused = labels.read(job_labels)
    assert isinstance(refused, Refusal), refused
    return refused.reason


def test_class_image_and_tags_are_told_apart() -> None:
    request = read("self-hosted", "Class:Medium", "image:ubuntu:22.04", "Linux", "team=a/b@c+d#e")
    assert request.class_name == "medium"
    assert request.image == "ubuntu:22.04"
    assert request.tags == ("linux", "team=a/b@c+d#e")


def test_nothing_but_self_hosted_asks_for_the_defaults() -> None:
    request = read("self-hosted")
    assert (request.class_name, request.image, request.tags) == (None, None, ())


def test_runners_register_with_the_labels_as_written_once_each() -> None:
    request = read("Self-Hosted", "Linux", "self-hosted", "linux", "image:A/b:C")
    assert request.runner_labels == "Self-Hosted,Linux,image:A/b:C"
    assert request.waiting_labels == "image:a/b:c,linux,self-hosted"


def test_waiting_labels_do_not_depend_on_order_or_case() -> None:
    assert (
        read("a", "B", "self-hosted").waiting_labels == read("SELF-HOSTED", "b", "A").waiting_labels
    )


def test_the_same_class_twice_is_one_class() -> None:
    assert read("self-hosted", "class:small", "CLASS:SMALL").class_name == "small"


def test_an_image_is_everything_behind_the_first_colon() -> None:
    assert read("image:localhost:5000/a:b@sha256:0").image == "localhost:5000/a:b@sha256:0"


def test_two_images_are_refused_even_if_only_their_case_differs_in_the_tag() -> None:
    assert "2 different image: labels" in refusal("image:a:1", "image:a:2")
    assert read("image:a:X", "image:a:x").image == "a:X"


@pytest.mark.parametrize("label", ["${{ x }}", "a;b", "a|b", "a\tb", "a\x00b", "é", "a'b", "<a>"])
def test_other_characters_are_refused_and_shown_escaped(label: str) -> None:
    reason = refusal("self-hosted", label)
    assert ascii(label) in reason
    assert "use letters, digits, spaces and" in reason


def test_limits_are_exact() -> None:
    assert len(read(*["self-hosted", *map(str, range(49))]).labels) == 50
    assert "51 labels" in refusal("self-hosted", *map(str, range(50)))
    assert read("x" * 256).labels == ("x" * 256,)
    assert "257 characters" in refusal("x" * 257)
    fitting = [f"{n:0>236}" for n in range(8)]
    assert len(read(*fitting).waiting_labels) == 1895
    assert "1901 characters long" in refusal(*fitting, "00000")


@pytest.mark.parametrize(
    "label",
    ["self-hosted, linux", "self-hosted,class:small", "Self-Hosted linux", '["self-hosted","x"]'],
)
def test_labels_in_one_text_are_refused_with_the_way_to_write_them(label: str) -> None:
    for others in ([], ["self-hosted"]):
        assert "is several labels in one text, write runs-on as a list" in refusal(*others, label)


def test_a_label_that_only_has_self_hosted_in_it_is_a_label() -> None:
    assert read("self-hosted", "not-self-hosted", "self-hosted-gpu").tags == (
        "not-self-hosted",
        "self-hosted-gpu",
    )


@given(
    st.lists(st.one_of(st.text(), st.integers(), st.none(), st.just("self-hosted")), max_size=60)
)
def test_any_labels_get_a_request_or_a_reason_in_plain_characters(job_labels: list[object]) -> None:
    answer = labels.read(job_labels)
    if isinstance(answer, Refusal):
        assert answer.reason.replace("…", "").isascii()
        assert answer.reason.isprintable()
        assert len(answer.reason) < 300
    else:
        assert len(answer.waiting_labels.encode()) <= 1900
        assert answer.runner_labels == ",".join(answer.labels)
        assert all("," not in label for label in answer.labels)

"""``environment``: settings are what the variables say, and whatever is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fleet_runtime.environment import SettingError, read


class Colour:
    """A value with a grammar of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def parse(cls, text: str) -> Colour:
        if text != "red":
            raise ValueError(f"{text!r} is no colour, use red")
        return cls(text)


@dataclass(frozen=True, kw_only=True)
class Part:
    part_id: str
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Group:
    most_cats: int
    least_cats: int | None = None

    def __post_init__(self) -> None:
        if self.least_cats is not None and self.least_cats > self.most_cats:
            raise ValueError(f"least_cats is {self.least_cats}, and most_cats {self.most_cats}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    cat_name: str
    cat_weight: float
    is_fed: bool
    colour: Colour
    toys: tuple[str, ...]
    friends: frozenset[str]
    beds: Mapping[str, str]
    parts: tuple[Part, ...] = ()
    nickname: str = "puss"
    age: int | None = None
    cats: Group


GIVEN = {
    "CAT_NAME": "Tom",
    "CAT_WEIGHT": "4.5",
    "IS_FED": "on",
    "COLOUR": "red",
    "TOYS": '["ball", "mouse"]',
    "FRIENDS": "[]",
    "BEDS": '{"day": "sofa"}',
    "PARTS": '[{"part_id": "tail"}]',
    "NICKNAME": "",
    "MOST_CATS": "9",
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for key in ("AGE", "LEAST_CATS"):
        monkeypatch.delenv(key, raising=False)
    for key, value in GIVEN.items():
        monkeypatch.setenv(key, value)
    return monkeypatch


@pytest.mark.usefixtures("given")
def test_each_field_is_read_by_its_type() -> None:
    found = read(Settings)
    assert (found.cat_name, found.cat_weight, found.is_fed) == ("Tom", 4.5, True)
    assert found.colour.name == "red"
    assert (found.toys, found.friends) == (("ball", "mouse"), frozenset())
    assert found.beds == {"day": "sofa"}
    assert found.parts == (Part(part_id="tail", size=1),)
    assert found.cats == Group(most_cats=9)


@pytest.mark.usefixtures("given")
def test_what_is_missing_or_empty_has_its_default() -> None:
    found = read(Settings)
    assert (found.nickname, found.age, found.cats.least_cats) == ("puss", None, None)


def test_what_is_optional_is_read_all_the_same(given: pytest.MonkeyPatch) -> None:
    given.setenv("AGE", "7")
    assert read(Settings).age == 7


@pytest.mark.parametrize("key", ["CAT_NAME", "IS_FED", "COLOUR", "TOYS", "MOST_CATS"])
def test_what_is_missing_is_named_with_what_to_do(given: pytest.MonkeyPatch, key: str) -> None:
    given.delenv(key)
    with pytest.raises(SettingError, match=f"{key} is not set: deploy the stack again"):
        read(Settings)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("CAT_WEIGHT", "heavy", "it must be a number"),
        ("CAT_WEIGHT", "nan", "it must be a number"),
        ("CAT_WEIGHT", "-1", "not below 0"),
        ("AGE", "1.5", "a whole number"),
        ("AGE", "-1", "a whole number"),
        ("IS_FED", "true", "use on or off"),
        ("COLOUR", "blue", "'blue' is no colour, use red"),
        ("TOYS", "ball", "a JSON list of texts"),
        ("TOYS", "[7]", "a JSON list of texts"),
        ("FRIENDS", "{}", "a JSON list of texts"),
        ("BEDS", "[]", "a JSON object of texts"),
        ("BEDS", '{"day": 7}', "a JSON object of texts"),
        ("PARTS", "[1]", "a JSON list of objects"),
        ("PARTS", '[{"no": "field"}]', "unexpected keyword"),
    ],
)
def test_what_cannot_be_read_is_named(
    given: pytest.MonkeyPatch, key: str, value: Any, says: str
) -> None:
    given.setenv(key, value)
    with pytest.raises(SettingError, match=f"environment variable {key} is .*{says}"):
        read(Settings)


def test_settings_that_do_not_go_together_say_so(given: pytest.MonkeyPatch) -> None:
    given.setenv("LEAST_CATS", "10")
    with pytest.raises(SettingError, match="least_cats is 10, and most_cats 9"):
        read(Settings)


@dataclass(frozen=True, kw_only=True)
class Household:
    cats: Group | None = None


def test_a_group_that_may_be_none_is_where_none_of_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read(Household).cats is None
    monkeypatch.setenv("MOST_CATS", "3")
    assert read(Household).cats == Group(most_cats=3)


def test_a_group_of_which_a_part_is_missing_is_no_group_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEAST_CATS", "3")
    with pytest.raises(SettingError, match="MOST_CATS is not set"):
        read(Household)

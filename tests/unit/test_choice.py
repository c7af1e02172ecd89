"""What a user may say of the sources that a run takes in."""

from __future__ import annotations

from typing import Any

import pytest

from v2d_spark.choice import USUAL, Choice
from v2d_spark.udfs.vocabulary import ConfigError


@pytest.mark.parametrize(
    ("only", "words"),
    [(None, USUAL), ("stale", ("stale",)), (" New, stale,new", ("new", "stale"))],
)
def test_words_become_kinds(only: str | None, words: tuple[str, ...]) -> None:
    assert Choice.named(only).only == words


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"only": ("new", "stael")}, "--only takes new, changed, failed, stale, not 'stael'; did you mean stale?"),
        ({"only": ("ok",)}, "--only takes new, changed, failed, stale, not 'ok'."),
        ({"only": ()}, "--only names no kind of sources; it takes new, changed, failed, stale."),
        ({"limit": 0}, "--limit must be 1 or more, not 0."),
    ],
)
def test_what_makes_no_choice_is_refused_with_a_sentence(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        Choice(**values)
    assert str(error.value) == told


def test_nothing_but_revalidation_is_a_choice() -> None:
    assert Choice(only=(), revalidate=True).only == ()


def test_a_condition_of_blanks_is_none() -> None:
    assert Choice(where="  \n").condition is None
    assert Choice(where="bytes > 1").condition == "bytes > 1"

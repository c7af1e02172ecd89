"""Rows of a query as a person sees them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from v2d_spark.printing import laid_out, shorten


def shown(names: list[str], cells: list[list[str]], width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(laid_out(names, cells, width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_columns_that_fit_stand_side_by_side_and_long_ones_are_folded() -> None:
    lines = shown(["key", "error_message"], [["000000000000", "word " * 30]], 60)

    assert "┃ key          ┃ error_message" in lines[1]
    assert all(len(line) <= 60 for line in lines)
    assert sum("word" in line for line in lines) > 2


def test_columns_that_do_not_fit_stand_one_below_the_other() -> None:
    names = [f"column_{at}" for at in range(21)]

    lines = shown(names, [[f"value {at}" for at in range(21)], ["x" * 150] * 21], 120)

    assert lines[:2] == ["column_0   value 0", "column_1   value 1"]
    assert lines[20:22] == ["column_20  value 20", "─" * 40]
    # What is longer than the line goes on below its beginning.
    assert lines[22:24] == [f"column_0   {'x' * 109}", f"{' ' * 11}{'x' * 41}"]


def test_no_rows_have_a_header_alone() -> None:
    assert "┃ a ┃ b ┃" in shown(["a", "b"], [], 80)[1]


@pytest.mark.parametrize(("text", "cut"), [("x" * 200, "x" * 200), ("x" * 201, f"{'x' * 199}…")])
def test_a_long_text_is_cut(text: str, cut: str) -> None:
    assert shorten(text) == cut

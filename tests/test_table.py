"""Tables as text, line by line."""

from trtnn.table import render

ROWS = [("conv", "1"), ("relu", "22"), ("add", "333")]


def test_numbers_are_flush_right_between_rules():
    assert render(("layer", "ms"), ROWS, 1, ("total", "356")).splitlines() == [
        "layer   ms",
        "----------",
        "conv     1",
        "relu    22",
        "add    333",
        "----------",
        "total  356",
    ]


def test_a_table_without_a_total_ends_with_its_rows():
    assert render(("layer", "ms"), ROWS[:1], 1).splitlines() == ["layer  ms", "---------", "conv    1"]


def test_rows_that_are_not_shown_are_counted():
    lines = render(("layer", "ms"), ROWS, 2, "what it comes to", limit=1, hidden=4, rest="better ones").splitlines()
    assert lines == ["layer  ms", "---------", "conv   1", "... and 6 better ones", "---------", "what it comes to"]
    assert not any("..." in line for line in render(("layer", "ms"), ROWS, 1, limit=3).splitlines())

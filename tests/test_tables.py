import math

from mmseg_deepvit.tables import markdown_table, number


def test_table():
    assert markdown_table(["a", "long"], [["x", 1], ["yy", 2.5]]).splitlines() == [
        "| a  | long |",
        "|----|------|",
        "| x  | 1    |",
        "| yy | 2.5  |",
    ]


def test_numbers():
    assert [number(value, ".3g") for value in (0.12345, math.nan)] == ["0.123", "–"]

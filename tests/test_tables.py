import math

from mmseg_deepvit.tables import html_table, markdown_table, number


def test_table():
    assert markdown_table(["a", "long"], [["x", 1], ["yy", 2.5]]).splitlines() == [
        "| a  | long |",
        "|----|------|",
        "| x  | 1    |",
        "| yy | 2.5  |",
    ]


def test_table_of_a_page():
    cells = "<tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr><tr><td>2</td></tr>"
    assert html_table(["a"], [["<b>"], [2]]) == f"<table>{cells}</table>"


def test_numbers():
    assert [number(value, ".3g") for value in (0.12345, math.nan)] == ["0.123", "–"]

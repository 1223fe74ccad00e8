from kt_transfer.reporting.terminal import format_table


def test_words_to_the_left_numbers_to_the_right():
    table = format_table(["class", "recall", "n"], [["cat", 0.5, 7], ["hippopotamus", 1.0, 12]])
    assert table.splitlines() == [
        "class         recall   n",
        "cat           0.5000   7",
        "hippopotamus  1.0000  12",
    ]


def test_what_is_missing_is_empty():
    assert format_table(["a", "b"], [[None, "x"]]).splitlines() == ["a  b", "   x"]

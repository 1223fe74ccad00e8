import numpy as np

from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.pairs import most_different, paired_answers

LABELS = np.array([0, 0, 1, 1, 2])


def cell(*predicted, rows=range(5), sure=1.0):
    logits = sure * np.eye(3)[list(predicted)]
    return HeldOut(np.array(rows), LABELS, logits, np.full(3, 1 / 3))


def test_answers_are_counted_by_class():
    found = paired_answers([cell(0, 1, 1, 0, 0)], [cell(0, 0, 0, 0, 2)], 3)
    assert (found["both_right"], found["both_wrong"]) == (1, 1)
    assert (found["only_own"], found["only_other"]) == (1, 2)
    assert [entry["only_own"] for entry in found["by_class"]] == [0, 1, 0]
    assert [entry["only_other"] for entry in found["by_class"]] == [1, 0, 1]
    assert [entry["num_answers"] for entry in found["by_class"]] == [2, 2, 1]


def test_an_example_is_judged_in_every_repeat_and_is_one():
    found = paired_answers([cell(0, 0, 1, 1, 2)] * 3, [cell(1, 0, 1, 1, 2)] * 3, 3)
    assert (found["num_answers"], found["num_examples"]) == (15, 5)
    assert found["only_own"] == 3


def test_examples_that_differ_in_all_repeats_come_first():
    own = [cell(0, 0, 1, 1, 2), cell(0, 0, 1, 0, 2)]
    other = [cell(1, 1, 1, 0, 2), cell(1, 0, 1, 1, 2)]
    helped, hurt = most_different(own, other, 5)
    # Row 3 is right once for either, which cancels out.
    assert helped.tolist() == [0, 1]
    assert hurt.tolist() == []
    helped, hurt = most_different(other, own, 1)
    assert (helped.tolist(), hurt.tolist()) == ([], [0])


def test_of_equals_the_surest_comes_first():
    own = [cell(0, 0, 1, 1, 2)]
    own[0].logits[1] *= 3
    helped, _ = most_different(own, [cell(1, 1, 1, 1, 2)], 2)
    assert helped.tolist() == [1, 0]

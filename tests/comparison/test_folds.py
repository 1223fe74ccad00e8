import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.comparison.folds import (
    class_shares,
    derived_seed,
    draw_folds,
    resolve_budgets,
    training_order,
)
from kt_transfer.comparison.scoring import scores
from kt_transfer.data import draw_labels

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [80, 60, 40, 20]))


@pytest.mark.parametrize("num_folds", [2, 3, 5, 10])
@pytest.mark.parametrize("labels", [20, 37, 200])
def test_folds_part_the_draw_and_are_stratified(num_folds, labels):
    draw = draw_folds(LABELS, 200, num_folds, seed=1)
    parts = [draw.split(fold, labels) for fold in range(num_folds)]
    held_out = np.concatenate([held for _, held in parts])
    assert sorted(held_out) == sorted(draw.rows[:labels])
    for train, held in parts:
        assert sorted([*train, *held]) == sorted(draw.rows[:labels])
        # As even as whole examples allow, in all and in every class.
        counts = np.bincount(LABELS[held], minlength=4)
        whole = np.bincount(LABELS[draw.rows[:labels]], minlength=4)
        assert (np.abs(counts - whole / num_folds) < 1).all()
        assert abs(len(held) - labels / num_folds) <= 2


@pytest.mark.parametrize(("labels", "num_folds"), [(60, 30), (40, 20), (50, 10)])
def test_many_folds_of_few_examples_are_of_one_size(labels, num_folds):
    draw = draw_folds(np.arange(500) % 10, labels, num_folds, seed=0)
    assert set(np.bincount(draw.folds, minlength=num_folds)) == {labels // num_folds}


def test_smaller_budgets_are_nested_and_keep_the_folds():
    draw = draw_folds(LABELS, 200, 5, seed=3)
    for fold in range(5):
        small, large = draw.split(fold, 30), draw.split(fold, 150)
        for part in (0, 1):
            assert set(small[part]) < set(large[part])


def test_a_draw_is_a_function_of_seed_and_repeat():
    def draw(seed, repeat):
        return draw_folds(LABELS, 50, 5, seed, repeat).rows.tolist()

    assert draw(0, 1) == draw(0, 1)
    assert len({tuple(draw(seed, repeat)) for seed in range(3) for repeat in range(3)}) == 9
    # The labels of the first repeat are those that finetune --labels 50 draws.
    assert draw(7, 0) == draw_labels(LABELS, 50, 7).tolist()


def test_rows_without_a_label_are_never_drawn():
    y = np.where(np.arange(200) % 2, LABELS, -1)
    draw = draw_folds(y, 100, 5, seed=0)
    assert (y[draw.rows] >= 0).all()


def test_budgets_become_numbers():
    options = {"num_folds": 5, "repeats": 3, "seed": 0}
    assert resolve_budgets(LABELS, (100, "all", 50, 100), **options) == [50, 100, 200]
    y = np.where(np.arange(200) < 150, LABELS, -1)
    assert resolve_budgets(y, ("all",), **options) == [150]


def refused(match, y=LABELS, budgets=(50,), num_folds=5, **options):
    with pytest.raises(UserError, match=match):
        resolve_budgets(y, budgets, num_folds=num_folds, repeats=2, seed=0, **options)


def test_every_fold_draws_its_own_labels_from_what_it_leaves():
    draw = draw_folds(LABELS, 200, 5, seed=0)
    orders = []
    for fold in range(5):
        pool, held = draw.split(fold)
        order = training_order(LABELS, pool, seed=fold)
        assert sorted(order) == sorted(pool)
        assert np.bincount(LABELS[order[:40]]).tolist() == [16, 12, 8, 4]
        orders.append(set(order[:40]))
    # 160 are left, of which two folds have 120 in common: 40 of 160 share 7.5 on average.
    shared = [len(one & other) for one in orders for other in orders if one is not other]
    assert 4 < np.mean(shared) < 12


def test_labels_that_are_all_judged_by_need_only_be_drawn():
    options = {"num_folds": 12, "repeats": 3, "seed": 0}
    assert resolve_budgets(LABELS, (4, 100), **options) == [4, 100]
    refused("labels=3 was given, expected at least one for each of the 4 classes", budgets=(3,))
    refused("folds=201 .*the 200 labels have fewer", num_folds=201)


def test_a_budget_beyond_what_there_is_is_refused():
    refused("labels=201 was given, but the training split has 200 labelled", budgets=(50, 201))


def test_a_budget_too_small_for_the_folds_is_refused():
    with pytest.raises(UserError, match="labels=9 .*folds=12, .*each fold") as refusal:
        resolve_budgets(LABELS, (9, 100), num_folds=12, repeats=3, seed=0, judge="budget")
    least = int(str(refusal.value).split("at least ")[-1].rstrip("."))
    for repeat in range(3):
        draw = draw_folds(LABELS, least, 12, seed=0, repeat=repeat)
        assert set(draw.folds) == set(range(12))


def test_a_budget_that_cannot_teach_each_class_is_refused_with_the_least_that_can():
    with pytest.raises(UserError, match="labels=7 .*two of each class") as refusal:
        resolve_budgets(LABELS, (7, 100), num_folds=2, repeats=3, seed=0, judge="budget")
    least = int(str(refusal.value).split("at least ")[-1].rstrip("."))
    for repeat in range(3):
        draw = draw_folds(LABELS, least, 2, seed=0, repeat=repeat)
        assert np.bincount(LABELS[draw.rows]).min() >= 2
    options = {"num_folds": 2, "repeats": 3, "seed": 0, "judge": "budget"}
    assert resolve_budgets(LABELS, (least, 100), **options)[0] == least


def test_the_only_example_of_a_class_is_in_no_fold():
    y = np.append(LABELS, 4)
    assert resolve_budgets(y, (100,), num_folds=5, repeats=2, seed=0) == [100]
    draw = draw_folds(y, 100, 5, seed=0)
    assert draw.rows[draw.folds < 0].tolist() == [200]
    for fold in range(5):
        assert 200 in draw.split(fold)[0]


def test_two_of_a_class_that_are_equal_are_one():
    y, copies = np.append(LABELS, [4, 4]), np.append(np.arange(200), [200, 200])
    draw = draw_folds(y, 202, 5, seed=0, copies=copies)
    assert sorted(draw.rows[draw.folds < 0]) == [200, 201]


def test_copies_share_a_fold_and_folds_stay_stratified():
    copies = np.random.default_rng(1).permutation(np.repeat(np.arange(40), 5))
    y = copies % 4
    draw = draw_folds(y, 200, 5, seed=0, copies=copies)
    for fold in range(5):
        train, held = draw.split(fold)
        assert not set(copies[train]) & set(copies[held])
        assert np.bincount(y[held]).tolist() == [10, 10, 10, 10]
    small = draw_folds(y, 20, 5, seed=0, copies=copies)
    assert len(set(copies[small.rows])) == 20


def test_a_budget_of_copies_alone_cannot_be_split():
    copies = np.repeat(np.arange(6), 20)
    with pytest.raises(UserError, match="folds=7 .*each fold"):
        resolve_budgets(copies % 2, (100,), num_folds=7, repeats=1, seed=0, copies=copies)
    options = {"num_folds": 7, "repeats": 1, "seed": 0, "copies": copies, "judge": "budget"}
    with pytest.raises(UserError, match="folds=7, .*each fold"):
        resolve_budgets(copies % 2, (100,), **options)


@pytest.mark.parametrize("rare", [2, 3, 4, 9])
def test_a_constant_answer_has_the_balanced_accuracy_of_chance_whatever_the_folds_hold(rare):
    y = np.random.default_rng(rare).permutation(np.repeat([0, 1], [30, rare]))
    draw = draw_folds(y, len(y), 5, seed=0)
    shares = class_shares(y, draw, 5, 2)
    held = [y[draw.split(fold)[1]] for fold in range(5)]
    found = {
        answer: [scores(labels, logits(labels), shares) for labels in held]
        for answer, logits in {
            "constant": lambda labels: np.tile([1.0, 0.0], (len(labels), 1)),
            "rare": lambda labels: np.tile([0.0, 1.0], (len(labels), 1)),
            "perfect": lambda labels: np.eye(2)[labels],
        }.items()
    }
    for answer, expected in {"constant": 0.5, "rare": 0.5, "perfect": 1.0}.items():
        mean = np.mean([fold["balanced_accuracy"] for fold in found[answer]])
        assert mean == pytest.approx(expected), answer
    assert np.mean([fold["macro_f1"] for fold in found["perfect"]]) == pytest.approx(1.0)
    assert np.mean([fold["macro_f1"] for fold in found["constant"]]) <= 0.5


def test_where_every_fold_holds_every_class_a_fold_counts_as_usual():
    draw = draw_folds(LABELS, 200, 5, seed=0)
    np.testing.assert_allclose(class_shares(LABELS, draw, 5, 4), 1 / 4)
    # Of 20 labels the four classes have 8, 6, 4 and 2: the last are in four and in two folds.
    few = class_shares(LABELS, draw, 5, 6, labels=20)
    np.testing.assert_allclose(few, [1 / 4, 1 / 4, 5 / 16, 5 / 8, 0, 0])


def test_derived_seeds_differ_with_every_number():
    seeds = {derived_seed(a, b, c) for a in range(4) for b in range(4) for c in range(4)}
    assert len(seeds) == 64
    assert all(0 <= seed < 2**31 for seed in seeds)

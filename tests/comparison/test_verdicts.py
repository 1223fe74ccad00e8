import numpy as np
import pytest

from kt_transfer.comparison.statistics import corrected_interval, holm
from kt_transfer.comparison.summary import describe_worth
from kt_transfer.comparison.table import Cell
from kt_transfer.comparison.verdicts import choose, curve, judge, until_scratch, worth

FOLDS, REPEATS = 5, 3


def rows_of(candidates, metric="accuracy", spread=0.01, seed=0, num_labelled=None):
    """Rows in which each ``{(method, source, labels): (mean, parameters)}`` scores about that."""
    rng = np.random.default_rng(seed)
    return [
        {
            "method": method,
            "source": source,
            "labels": labels,
            "repeat": repeat,
            "fold": fold,
            metric: mean + spread * rng.normal(),
            "num_parameters": size,
            "num_train": labels * (FOLDS - 1) // FOLDS,
            "num_held_out": labels // FOLDS,
            "num_labelled": num_labelled or labels,
            "fit_seconds": 2.0,
            "head_seconds": 0.5 if method == "parameters" else 0.0,
        }
        for (method, source, labels), (mean, size) in candidates.items()
        for repeat in range(REPEATS)
        for fold in range(FOLDS)
    ]


CLEAR = {
    ("scratch", "", 100): (0.70, 900),
    ("linear", "", 100): (0.60, 10),
    ("parameters", "a", 100): (0.80, 900),
    ("features", "a", 100): (0.70, 900),
    ("parameters", "b", 100): (0.79, 900),
}


def by_key(entries):
    return {(e["method"], e["source"], e["labels"]): e for e in entries}


def test_a_planted_useful_source_is_found():
    found = by_key(judge(rows_of(CLEAR), "accuracy"))
    words = {key[:2]: entry["verdict"] for key, entry in found.items()}
    assert words == {
        ("linear", ""): "worse",
        ("parameters", "a"): "better",
        ("features", "a"): "no difference",
        ("parameters", "b"): "better",
    }


def test_numbers_are_paired_differences_by_fold():
    rows = rows_of(CLEAR)
    rng = np.random.default_rng(1)
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    found = by_key(judge(shuffled, "accuracy"))
    scores = {
        method: np.array([r["accuracy"] for r in rows if (r["method"], r["source"]) == method])
        for method in (("scratch", ""), ("parameters", "a"))
    }
    differences = scores["parameters", "a"] - scores["scratch", ""]
    expected = corrected_interval(differences, 80, 20)
    entry = found["parameters", "a", 100]
    assert entry["mean"] == pytest.approx(scores["parameters", "a"].mean())
    assert entry["difference"] == pytest.approx(expected.mean)
    assert entry["interval"] == pytest.approx([expected.low, expected.high])
    assert entry["p_value"] == pytest.approx(expected.p_value)
    entries = found.values()
    adjusted = holm([e["p_value"] for e in entries])
    assert [e["adjusted_p_value"] for e in entries] == pytest.approx(adjusted)
    assert 0 < entry["detectable"] < abs(entry["difference"])


def test_draws_of_many_more_examples_show_more():
    entries = [
        by_key(judge(rows_of(CLEAR, num_labelled=count), "accuracy")) for count in (100, 60_000)
    ]
    widths = [np.diff(found["features", "a", 100]["interval"])[0] for found in entries]
    assert widths[1] < 0.75 * widths[0]
    rows = [row for row in rows_of(CLEAR) if (row["method"], row["source"]) == ("features", "a")]
    base = [row for row in rows_of(CLEAR) if row["method"] == "scratch"]
    differences = [a["accuracy"] - b["accuracy"] for a, b in zip(rows, base, strict=True)]
    expected = corrected_interval(differences, 80, 20, num_folds=5, overlap=100 / 60_000)
    assert entries[1]["features", "a", 100]["interval"] == pytest.approx(expected[1:3])


def test_a_lower_log_loss_is_better():
    candidates = {
        ("scratch", "", 100): (0.70, 900),
        ("features", "a", 100): (0.40, 900),
        ("linear", "", 100): (0.90, 10),
    }
    found = by_key(judge(rows_of(candidates, "log_loss"), "log_loss"))
    assert found["features", "a", 100]["verdict"] == "better"
    assert found["features", "a", 100]["difference"] == pytest.approx(-0.3, abs=0.02)
    assert found["linear", "", 100]["verdict"] == "worse"
    assert choose(rows_of(candidates, "log_loss"), "log_loss")["method"] == "features"


def test_pure_noise_is_never_called_better():
    noise = {
        (method, "a", labels): (0.1, 1)
        for method in ("parameters", "features", "distilled")
        for labels in (50, 100, 200)
    } | {("scratch", "", labels): (0.1, 1) for labels in (50, 100, 200)}
    better = [
        any(
            entry["verdict"] == "better"
            for entry in judge(rows_of(noise, spread=0.05, seed=seed), "accuracy")
        )
        for seed in range(200)
    ]
    assert np.mean(better) <= 0.05


def test_the_best_mean_at_the_largest_budget_wins():
    small = {("features", "a", 50): (0.95, 900), ("scratch", "", 50): (0.5, 900)}
    winner = choose(rows_of(CLEAR | small), "accuracy")
    assert (winner["method"], winner["source"], winner["labels"]) == ("parameters", "a", 100)
    assert winner["mean"] == pytest.approx(0.8, abs=0.01)


def test_the_bound_of_a_share_is_none_below_nothing():
    rows = rows_of({("scratch", "", 10): (0.3, 900)}, spread=0.4)
    assert choose(rows, "accuracy")["bound"] == 0.0


def test_the_smallest_that_is_practically_as_good_wins_where_that_is_preferred():
    candidates = {
        ("scratch", "", 100): (0.70, 900),
        ("linear", "", 100): (0.60, 10),
        ("parameters", "a", 100): (0.80, 900),
        ("distilled", "a", 100): (0.798, 50),
        ("features", "a", 100): (0.795, 50),
    }
    winner = choose(rows_of(candidates), "accuracy", "smallest", margin=0.02)
    assert (winner["method"], winner["num_parameters"]) == ("distilled", 50)
    assert choose(rows_of(candidates), "accuracy")["method"] == "parameters"
    # So little data cannot tell whether it is worse by more than a tenth of a point.
    strict = choose(rows_of(candidates), "accuracy", "smallest", margin=0.001)
    assert strict["method"] == "parameters"


CURVE = {
    ("scratch", "", 50): (0.6, 1),
    ("scratch", "", 100): (0.7, 1),
    ("scratch", "", 200): (0.8, 1),
    ("parameters", "a", 50): (0.7, 1),
    ("parameters", "a", 100): (0.75, 1),
    ("parameters", "a", 200): (0.9, 1),
    ("features", "a", 50): (0.5, 1),
}


def test_worth_is_read_off_the_curve_of_scratch():
    found = by_key(worth(rows_of(CURVE, spread=0.0), "accuracy"))
    assert found["parameters", "a", 50]["scratch_labels"] == pytest.approx(100)
    assert found["parameters", "a", 100]["scratch_labels"] == pytest.approx(np.sqrt(100 * 200))
    assert found["parameters", "a", 200]["beyond"]
    assert found["features", "a", 50]["scratch_labels"] is None
    assert not found["features", "a", 50]["beyond"]


def test_worth_of_a_single_budget_cannot_be_read():
    assert worth(rows_of(CLEAR), "accuracy") == []


def test_worth_in_words():
    found = by_key(worth(rows_of(CURVE, spread=0.0), "accuracy"))
    told = {key: describe_worth(entry, 200) for key, entry in found.items()}
    assert (
        "to match parameters from a at 50 labels, scratch needs about 50 labels more"
        in (told["parameters", "a", 50])
    )
    assert "more than the 200 labels" in told["parameters", "a", 200]
    assert "fewer labels than were tried" in told["features", "a", 50]


def test_epochs_until_scratch_are_read_off_the_mean_curves():
    rows = rows_of({("scratch", "", 50): (0.6, 1), ("parameters", "a", 50): (0.7, 1)})
    curves = {}
    for row in rows:
        cell = Cell(*(row[name] for name in Cell._fields))
        lift = 0.1 if row["method"] == "parameters" else 0.0
        # Half of the folds above, half below: what counts is the mean.
        off = 0.05 if row["fold"] % 2 else -0.05
        curves[cell] = {epoch: 0.05 * epoch / 5 + lift + off for epoch in (5, 10, 15, 20)}
    found = by_key(until_scratch(rows, curves))
    assert found["scratch", "", 50]["epochs"] == 20
    entry = found["parameters", "a", 50]
    assert entry["accuracy"] == pytest.approx(0.2 - 0.01)
    # 0.1 higher is two looks earlier, at 10 of 20 epochs: 0.5 s before them, half of 1.5 s.
    assert entry["epochs"] == 10
    assert entry["seconds"] == pytest.approx(1.25)


def test_where_no_curve_was_drawn_nothing_is_said():
    assert until_scratch(rows_of(CLEAR), {}) == []


def test_the_curve_has_each_mean_with_its_own_interval():
    rows = rows_of(CLEAR)
    entries = by_key(curve(rows, "accuracy"))
    assert set(entries) == set(CLEAR)
    for key, entry in entries.items():
        values = [row["accuracy"] for row in rows if (row["method"], row["source"]) == key[:2]]
        expected = corrected_interval(values, 80, 20)
        assert entry["mean"] == pytest.approx(np.mean(values))
        assert (entry["low"], entry["high"]) == pytest.approx((expected.low, expected.high))


TAUGHT = {
    ("scratch", "", 100): (0.70, 900),
    ("Trees", "", 100): (0.90, 0),
    ("Trees student", "", 100): (0.85, 50),
    ("linear", "", 100): (0.86, 10),
}
STUDENTS = {("Trees", ""): ("Trees student", "")}


def test_the_best_that_is_no_network_gives_its_place_to_its_student():
    rows = rows_of(TAUGHT)
    winner = choose(rows, "accuracy", students=STUDENTS)
    assert (winner["method"], winner["num_parameters"]) == ("Trees student", 50)
    own, taught = (
        np.array([row["accuracy"] for row in rows if row["method"] == name])
        for name in ("Trees", "Trees student")
    )
    told = winner["student_of"]
    assert told["method"] == "Trees" and told["mean"] == pytest.approx(own.mean())
    expected = corrected_interval(taught - own, 80, 20, num_folds=FOLDS, overlap=1.0)
    assert told["difference"] == pytest.approx((taught - own).mean())
    assert told["interval"] == pytest.approx([expected.low, expected.high])


def test_the_smallest_is_a_network():
    winner = choose(rows_of(TAUGHT, spread=0.2), "accuracy", "smallest", STUDENTS)
    assert winner["method"] == "linear" and "student_of" not in winner
    lone = choose(rows_of(TAUGHT, spread=0.001), "accuracy", "smallest", STUDENTS)
    assert lone["method"] == "Trees student" and lone["student_of"]["method"] == "Trees"


def test_a_student_that_is_the_best_wins_by_itself():
    better = TAUGHT | {("Trees student", "", 100): (0.95, 50)}
    assert "student_of" not in choose(rows_of(better), "accuracy", students=STUDENTS)

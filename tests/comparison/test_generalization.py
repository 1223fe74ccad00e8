import numpy as np
import pytest

from kt_transfer.comparison.generalization import describe_shift, judge_shift, shift_table
from kt_transfer.comparison.statistics import corrected_interval, holm
from kt_transfer.data.shifts import Change

CHANGES = (Change("noise", "some noise"), Change("blur", "some blur"))
FOLDS, REPEATS = 5, 3


def rows_of(scores, change, labels=100, metric="accuracy", seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "method": method,
            "source": source,
            "labels": labels,
            "repeat": repeat,
            "fold": fold,
            metric: mean + 0.005 * rng.normal(),
            "num_train": 80,
            "num_held_out": 20,
            "num_labelled": labels,
            "change": change,
        }
        for (method, source), mean in scores.items()
        for repeat in range(REPEATS)
        for fold in range(FOLDS)
    ]


SCRATCH, LINEAR, GOOD, FRAGILE = (
    ("scratch", ""),
    ("linear", ""),
    ("parameters", "s"),
    ("features", "s"),
)
CLEAN = {SCRATCH: 0.70, LINEAR: 0.60, GOOD: 0.85, FRAGILE: 0.84}
NOISE = {SCRATCH: 0.68, LINEAR: 0.75, GOOD: 0.80, FRAGILE: 0.50}
BLUR = {SCRATCH: 0.66, LINEAR: 0.60, GOOD: 0.66, FRAGILE: 0.80}


def judged(clean=CLEAN, noise=NOISE, blur=BLUR, metric="accuracy"):
    rows = rows_of(clean, "clean", metric=metric)
    rows += rows_of(noise, "noise", metric=metric, seed=1)
    rows += rows_of(blur, "blur", metric=metric, seed=2)
    shift = judge_shift(rows, CHANGES, metric)
    winner = {"method": GOOD[0], "source": GOOD[1], "labels": 100}
    return {"metric": metric, "winner": winner, "shift": shift}


def entry(found, candidate, change):
    (row,) = [
        row
        for row in found["shift"]["rows"]
        if (row["method"], row["source"], row["change"]) == (*candidate, change)
    ]
    return row


def test_numbers_are_those_of_the_folds():
    found = judged()
    own = np.array([r["accuracy"] for r in rows_of(NOISE, "noise", seed=1)]).reshape(4, -1)
    clean = np.array([r["accuracy"] for r in rows_of(CLEAN, "clean")]).reshape(4, -1)
    row = entry(found, GOOD, "noise")
    expected = corrected_interval(own[2] - own[0], 80, 20)
    assert row["mean"] == pytest.approx(own[2].mean())
    assert row["lost"] == pytest.approx(clean[2].mean() - own[2].mean())
    assert row["difference"] == pytest.approx(expected.mean)
    assert row["interval"] == pytest.approx([expected.low, expected.high])
    assert row["p_value"] == pytest.approx(expected.p_value)
    scratch = entry(found, SCRATCH, "blur")
    assert "difference" not in scratch
    assert scratch["lost"] == pytest.approx(0.04, abs=0.01)
    assert found["shift"]["labels"] == 100
    assert entry(found, SCRATCH, "clean")["mean"] == pytest.approx(clean[0].mean())


def test_all_verdicts_hold_together_those_on_clean_examples_too():
    rows = [row for row in judged()["shift"]["rows"] if "p_value" in row]
    assert len(rows) == 3 * 3
    adjusted = holm([row["p_value"] for row in rows])
    assert [row["adjusted_p_value"] for row in rows] == pytest.approx(adjusted)


def test_what_turns_from_better_to_worse_is_said_and_the_reverse():
    told = list(describe_shift(judged()))
    assert told[0] == "the winner, parameters, loses most with blur: 19.1 points"
    assert told[1] == (
        "against scratch, parameters is better on clean examples and with noise; not shown to "
        "differ with blur"
    )
    assert told[2:] == [
        "linear: this hurts on clean examples, but helps with noise",
        "features: transferring helps on clean examples, but hurts with noise",
    ]


def test_nothing_is_said_of_differences_that_are_not_shown():
    same = dict.fromkeys(CLEAN, 0.7)
    told = list(describe_shift(judged(same, same, same)))
    assert told[1] == "against scratch, parameters is not shown to differ on any of these"
    assert told[2].startswith("nothing that helps on clean examples was shown to hurt")
    assert len(told) == 3


def test_pure_noise_rarely_turns():
    turned = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rows = {}
        for change in ("clean", "noise", "blur"):
            rows[change] = rows_of(dict.fromkeys(CLEAN, 0.7), change)
            for row in rows[change]:
                row["accuracy"] += 0.05 * rng.normal()
        shift = judge_shift(sum(rows.values(), []), CHANGES, "accuracy")
        turned += any(
            row.get("verdict", "no difference") != "no difference" for row in shift["rows"]
        )
    assert turned <= 10  # at most 5 in 100 are expected


def test_a_higher_log_loss_is_a_loss():
    loss = {SCRATCH: 0.5, GOOD: 0.3}
    worse = {SCRATCH: 0.6, GOOD: 0.9}
    found = judged(loss, worse, loss, metric="log_loss")
    row = entry(found, GOOD, "noise")
    assert row["lost"] == pytest.approx(0.6, abs=0.01)
    assert row["verdict"] == "worse"
    assert entry(found, GOOD, "clean")["verdict"] == "better"


def test_the_table_has_a_line_a_candidate_and_says_who_is_better():
    lines = shift_table(judged()).splitlines()
    assert lines[0].split() == ["method", "clean", "noise", "blur"]
    assert [line.split()[0] for line in lines[1:]] == [
        "scratch",
        "linear",
        "parameters",
        "features",
    ]
    assert lines[4].count("▲") == 2
    assert lines[4].count("▼") == 1
    assert "▲" not in lines[1]

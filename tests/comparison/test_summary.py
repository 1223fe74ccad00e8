import re

import pytest

from kt_transfer.comparison.summary import (
    describe_budget,
    describe_comparison,
    describe_verdicts,
    describe_worths,
)
from kt_transfer.methods import BY_NAME
from kt_transfer.methods.candidates import chosen_methods, with_students
from kt_transfer.methods.estimator import TREES


def found(verdict="better", method="parameters", sources=("a",)):
    judged = {
        "mean": 0.8,
        "difference": 0.1,
        "interval": [0.02, 0.18],
        "detectable": 0.07,
        "probabilities": {"worse": 0.02, "equal": 0.08, "better": 0.9},
        "practically_equal": False,
    }
    verdicts = [
        {"method": "parameters", "source": source, "labels": 100, "verdict": verdict, **judged}
        for source in sources
    ]
    keys = [("scratch", ""), *[("parameters", source) for source in sources]]
    return {
        "metric": "accuracy",
        "margin": 0.01,
        "beside": None,
        "uses_unlabelled": [],
        "left": [],
        "forecast": {"more_labels": [], "verdicts": []},
        "constant": {"label": "no", "accuracy": 0.7, "balanced_accuracy": 0.5},
        "verdicts": verdicts,
        "scratch": [{"labels": 100, "mean": 0.7}],
        "winner": {"method": method, "source": sources[0] if method != "scratch" else "",
                   "labels": 100, "mean": 0.8, "expected": 0.79, "bound": 0.75},
        "worth": [],
        "costs": [
            {"method": name, "source": source, "labels": 100, "seconds": 1.25, "own_seconds": 0.75,
             "num_parameters": 900, "latency_ms": 0.5}
            for name, source in keys
        ],
        "equal_budget": "equal budgets",
        "test": {"accuracy": 0.79},
    }  # fmt: skip


def told(**changes):
    return "\n".join(describe_comparison(found(**changes)))


def test_the_table_shows_what_was_found():
    lines = told().splitlines()
    assert lines[0].split()[:4] == ["labels", "method", "accuracy", "difference"]
    assert lines[1].split() == ["100", "scratch", "0.7000", "1.2", "0.8", "900", "0.50"]
    assert "+0.1000" in lines[2]
    assert "+0.0200 to +0.1800" in lines[2]
    assert "better" in lines[2]


def test_sources_are_named_where_there_are_several():
    assert told().splitlines()[0].count("source") == 0
    assert told(sources=("a", "b")).splitlines()[0].count("source") == 1


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "better than scratch"),
        ("worse", "worse than scratch"),
        (
            "no difference",
            "no significant difference from scratch; the smallest .* detected is 0.070. Better by "
            "more than 0.01 with a probability of 90%, practically equal 8%, worse 2%",
        ),
    ],
)
def test_the_winner_in_plain_words(verdict, words):
    assert re.search(f"winner: parameters from a with 100 labels.*{words}", told(verdict=verdict))


def test_scratch_as_the_winner():
    assert "winner: scratch with 100 labels: nothing else scores higher" in told(method="scratch")


def test_a_test_split_without_labels_is_passed_over():
    without = found()
    without["test"] = {}
    assert "test split" not in "\n".join(describe_comparison(without))
    assert "measured once on the test split: accuracy 0.7900" in told()


def test_budgets_are_told_by_method():
    rows = [
        {"method": "scratch", "steps": 200},
        {"method": "scratch", "steps": 300},
        {"method": "parameters", "steps": 200},
        {"method": "distilled", "steps": 3000},
        {"method": "features", "steps": 0},
    ]
    assert describe_budget(rows, chosen_methods(BY_NAME, epochs=100)) == (
        "equal budgets: scratch, parameters and the teachers of distilled train 100 epochs over "
        "the same labelled examples (200 to 300 steps); distilled 3,000 steps over all examples; "
        "features: logistic regression until it converges"
    )
    assert describe_budget(rows[:2], chosen_methods(BY_NAME, epochs=5)).startswith(
        "equal budgets: scratch train 5 epochs"
    )


def test_what_a_transfer_is_worth_and_whether_that_is_shown():
    entry = {"method": "parameters", "source": "a", "labels": 100}
    worth = {"worth": [entry | {"scratch_labels": 240, "beyond": False}]}
    (better,) = describe_worths(found() | worth)
    assert better == (
        "to match parameters from a at 100 labels, scratch needs about 140 labels more"
    )
    (unclear,) = describe_worths(found(verdict="no difference") | worth)
    assert unclear == f"{better} (the difference is not significant)"


def test_scratch_that_wins_by_its_size_is_not_said_to_score_highest():
    smaller = found(method="scratch")
    smaller["winner"]["mean"] = 0.7  # parameters score 0.8
    assert "scratch with 100 labels: chosen as the smallest that" in "\n".join(
        describe_comparison(smaller)
    )


def test_a_winner_that_stands_in_for_what_cannot_be_exported():
    given = found()
    given["winner"]["student_of"] = {
        "method": "Trees", "mean": 0.9, "difference": -0.05, "interval": [-0.08, -0.02],
    }  # fmt: skip
    text = "\n".join(describe_comparison(given))
    assert (
        "the best, Trees (accuracy 0.9000), is no network and cannot be exported: its student wins "
        "in its place, -0.0500 against it (-0.0800 to -0.0200)\nwinner: parameters"
    ) in text


def test_a_classifier_is_fitted_with_its_own_defaults():
    methods = chosen_methods(["scratch"]) | with_students([TREES])
    rows = [
        {"method": name, "steps": 0 if name == "ExtraTreesClassifier" else 10} for name in methods
    ]
    told = describe_budget(rows, methods)
    assert told.endswith("ExtraTreesClassifier: fitted with its own defaults")
    assert "logistic regression" not in told


def test_practically_equal_is_a_verdict_of_its_own():
    given = found(verdict="no difference")
    likely = {"worse": 0.03, "equal": 0.92, "better": 0.05}
    given["verdicts"][0] |= {"practically_equal": True, "probabilities": likely}
    text = "\n".join(describe_comparison(given))
    assert "practically equal  " in text
    assert "practically equal to scratch: within 0.01 with a probability of 92%" in text
    assert "at most 0.01, with a probability of 90 % or more" in text
    # What is shown to be better is so, however little.
    given["verdicts"][0]["verdict"] = "better"
    assert "practically" not in "\n".join(describe_comparison(given))


def test_what_is_to_be_expected_of_the_best_of_several():
    assert (
        "to be expected of it: accuracy 0.7900, 0.0100 less for being the best of several; at "
        "least 0.7500 with a confidence of 95 %"
    ) in told()


def test_where_classes_are_unequal_a_constant_answer_is_told_beside_balanced_accuracy():
    given = found()
    keys = [{"method": "scratch", "source": ""}, {"method": "parameters", "source": "a"}]
    means = [key | {"labels": 100, "mean": 0.5 + number / 10} for number, key in enumerate(keys)]
    given["beside"] = {"metric": "balanced_accuracy", "means": means}
    text = "\n".join(describe_comparison(given))
    assert text.split()[:5] == ["labels", "method", "accuracy", "balanced_accuracy", "difference"]
    assert "0.8000    0.6000" in text
    assert (
        "always answering no has an accuracy of 0.7000, and a balanced accuracy of 0.5000" in text
    )


def test_an_interval_that_is_no_verdict_is_named():
    entry = {"method": "features", "source": "", "labels": 50, "practically_equal": False}
    rows = [
        entry | {"interval": [0.01, 0.2], "verdict": "no difference"},
        entry | {"method": "linear", "interval": [-0.1, 0.2], "verdict": "no difference"},
        entry | {"method": "parameters", "interval": [0.1, 0.2], "verdict": "better"},
    ]
    told = describe_verdicts({"verdicts": rows, "margin": 0.01})
    assert "the interval of features with 50 labels leaves 0 out and is no verdict" in told
    assert "linear" not in told
    assert "parameters" not in told

import itertools

import pytest

from kt_transfer.reporting.wording import (
    format_gain,
    format_interval,
    format_reason,
    format_score,
    headline,
    improvement,
    shorten,
)


def row(method="features", labels=100, verdict="better", difference=0.052, **more):
    return {
        "method": method,
        "source": "" if method in ("scratch", "linear") else "runs/source",
        "labels": labels,
        "mean": 0.912,
        "difference": difference,
        "interval": [difference - 0.021, difference + 0.021],
        "verdict": verdict,
        "detectable": 0.034,
        "practically_equal": False,
        **more,
    }


def comparison(*verdicts, winner=None, metric="accuracy"):
    keys = ("method", "source", "labels")
    winner = winner or verdicts[0]
    return {
        "metric": metric,
        "margin": 0.01,
        "uses_unlabelled": ["distilled", "propagated"],
        "verdicts": list(verdicts),
        "winner": {key: winner[key] for key in keys},
    }


def test_unlabelled_examples_that_are_worth_it_are_not_called_a_transfer():
    assert headline(comparison(row(method="propagated", source=""))) == (
        "The unlabelled examples are worth it: with 100 labels propagated reaches 91.2 % accuracy, "
        "5.2 points better than training from scratch."
    )


def test_a_winner_that_is_practically_equal_is_called_so():
    likely = {"worse": 0.03, "equal": 0.93, "better": 0.04}
    equal = row(verdict="no difference", practically_equal=True, probabilities=likely)
    assert headline(comparison(equal)) == (
        "No way of transferring was shown to be better than training from scratch with 100 labels; "
        "features is practically equal to it (within 1.0 points with a probability of 93 %), so "
        "the smaller will do."
    )


def test_a_winner_is_told_with_what_it_gains():
    assert headline(comparison(row())) == (
        "Transferring is worth it: with 100 labels features reaches 91.2 % accuracy, "
        "5.2 points better than training from scratch."
    )


def test_the_source_is_named_where_there_are_several():
    other = row(source="runs/other", verdict="no difference")
    assert "features · runs/source reaches" in headline(comparison(row(), other))


@pytest.mark.parametrize("kind", ["no difference", "worse"])
def test_a_winner_that_is_not_better_is_not_called_so(kind):
    told = headline(comparison(row(verdict=kind)))
    assert told == (
        "No way of transferring was shown to be better than training from scratch with 100 labels."
    )


def test_scratch_wins():
    winner = {"method": "scratch", "source": "", "labels": 1000}
    few = [row(labels=labels) for labels in (50, 100)]
    found = comparison(*few, row(labels=1000, verdict="worse"), winner=winner)
    assert headline(found) == (
        "No way of transferring was shown to be better than training from scratch with "
        "1,000 labels; with 50 and 100 labels one was."
    )


def test_a_linear_model_is_no_transfer():
    told = headline(comparison(row("linear")))
    assert told.startswith("Nothing needs to be transferred: with 100 labels a linear model")
    nothing = comparison(row("linear"), winner={"method": "scratch", "source": "", "labels": 100})
    assert "one was" not in headline(nothing)


def test_numbers_in_the_units_of_the_metric():
    assert format_score("accuracy", 0.91249) == "91.2 %"
    assert format_score("log_loss", 0.31249) == "0.312"
    assert format_gain("macro_f1", -0.0421) == "−4.2 points"
    assert format_gain("auc", 0.0421) == "+0.042"
    assert format_interval("accuracy", [-0.0002, 0.073]) == "0.0 to +7.3 points"


def test_a_lower_loss_is_a_gain():
    assert improvement("log_loss", -0.2) == 0.2
    assert improvement("accuracy", -0.2) == -0.2
    assert format_gain("log_loss", -0.0421) == "+0.042"
    assert format_interval("log_loss", [-0.04, 0.002]) == "−0.002 to +0.040"
    found = comparison(row(difference=-0.052, mean=0.312), metric="log_loss")
    assert "reaches 0.312 log loss, 0.052 better than" in headline(found)


def test_what_a_verdict_rests_on():
    assert format_reason("accuracy", row()) == "by 3.1 to 7.3 points"
    worse = row(verdict="worse", difference=-0.052)
    assert format_reason("accuracy", worse) == "by 3.1 to 7.3 points: negative transfer"
    assert "negative" not in format_reason("accuracy", row("linear", verdict="worse"))


def test_a_long_name_keeps_its_ends():
    assert shorten("runs/source") == "runs/source"
    assert shorten("a" * 30 + "b" * 30, 21) == "a" * 10 + "…" + "b" * 10


BUDGETS = (36, 72)
JUDGED = [(method, labels) for method in ("linear", "parameters", "features") for labels in BUDGETS]


@pytest.mark.parametrize("winner", ["scratch", "linear", "parameters", "features"])
def test_the_headline_follows_from_the_verdicts_in_every_combination(winner):
    for verdicts in itertools.product(("better", "no difference", "worse"), repeat=len(JUDGED)):
        found = dict(zip(JUDGED, verdicts, strict=True))
        rows = [
            row(method, labels, kind, difference={"better": 0.05, "worse": -0.05}.get(kind, 0.01))
            for (method, labels), kind in found.items()
        ]
        source = "" if winner in ("scratch", "linear") else "runs/source"
        told = headline(
            comparison(*rows, winner={"method": winner, "source": source, "labels": 72})
        )
        own = found.get((winner, 72))
        transfers = {
            labels: [m for m in ("parameters", "features") if found[m, labels] == "better"]
            for labels in BUDGETS
        }
        claims_none = "No way of transferring was shown to be better" in told
        # Exactly one of four things is said first.
        assert claims_none == (own != "better" and not transfers[72]), (found, told)
        is_worth_it = own == "better" and winner in ("parameters", "features")
        assert told.startswith("Transferring is worth it") == is_worth_it, (found, told)
        needs_nothing = own == "better" and winner == "linear"
        assert told.startswith("Nothing needs to be transferred") == needs_nothing, (found, told)
        other = own != "better" and bool(transfers[72])
        assert told.startswith("Transferring was shown to be better") == other, (found, told)
        # And what is added holds as well.
        assert ("with 36 labels one was" in told) == (claims_none and bool(transfers[36])), told
        assert "with 72 labels one was" not in told
        assert ("linear model, which" in told) == (claims_none and found["linear", 72] == "better")
        assert ("not shown to differ" in told) == (other and own == "no difference"), told
        assert ("worse than scratch" in told) == (other and own == "worse"), told
        if is_worth_it or other:
            named = [m for m in ("parameters", "features") if f"labels {m} reaches" in told]
            assert len(named) == 1
            assert found[named[0], 72] == "better"


def test_a_winner_that_differs_from_what_was_shown_is_told_as_such():
    shown = row("features", 72, "better", 0.056)
    linear = row("linear", 72, "no difference", 0.07)
    assert headline(comparison(shown, linear, winner=linear)) == (
        "Transferring was shown to be better than training from scratch: with 72 labels features "
        "reaches 91.2 % accuracy, 5.6 points better than training from scratch; the winner, "
        "linear, is not shown to differ from scratch itself."
    )
    scratch = {"method": "scratch", "source": "", "labels": 72}
    told = headline(comparison(shown, winner=scratch))
    assert told.endswith("; the winner is scratch all the same, by its size.")


def test_an_interval_that_leaves_0_out_but_is_no_verdict_says_why():
    none = row(verdict="no difference", interval=[0.001, 0.07], detectable=0.08)
    assert format_reason("accuracy", none).startswith("its interval leaves 0 out, but")

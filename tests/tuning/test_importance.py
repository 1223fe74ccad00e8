"""Which settings matter, on scores of which it is known."""

import numpy as np
import pytest

from kt_transfer.tuning.importance import importance


def trials(score, num=60):
    rng = np.random.default_rng(0)
    made = []
    for _ in range(num):
        own = {
            "rate": float(rng.uniform()),
            "kind": str(rng.choice(["a", "b"])),
            "idle": int(rng.integers(4)),
        }
        made.append({"settings": own, "score": score(own)})
    return made


def test_what_the_score_depends_on_has_all_of_it():
    shares = importance(trials(lambda own: own["rate"]))
    assert shares["rate"] > 0.95
    assert sum(shares.values()) == pytest.approx(1.0)
    words = importance(trials(lambda own: float(own["kind"] == "a") + 0.1 * own["rate"]))
    assert max(words, key=words.get) == "kind"


def test_trials_that_failed_are_left_out_and_too_few_say_nothing():
    some = trials(lambda own: own["rate"], 10)
    some[3]["score"] = None
    assert max(importance(some), key=importance(some).get) == "rate"
    assert importance(some[:7]) is None
    assert importance(trials(lambda own: 0.5)) is None

import numpy as np
import pytest

from kt_transfer.reporting.classification import expected_calibration_error, softmax
from kt_transfer.reporting.distillation import compare_answers, format_gained
from kt_transfer.reporting.plots import plot_gained

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 50)
ANSWERS = {name: RNG.normal(size=(50, 3)) for name in ("teacher", "scratch", "distilled")}
ROW = {"num_parameters": 1210, "num_bytes": 27445, "latency_ms": 0.391, "throughput": 589639.2}


def test_answers_are_compared_with_labels_and_with_the_teacher():
    found = compare_answers(LABELS, ANSWERS)
    for name, answers in ANSWERS.items():
        own = found[name]
        assert own["accuracy"] == pytest.approx((answers.argmax(axis=1) == LABELS).mean())
        error = expected_calibration_error(LABELS, softmax(answers))
        assert own["calibration_error"] == pytest.approx(error)
    same = ANSWERS["distilled"].argmax(axis=1) == ANSWERS["teacher"].argmax(axis=1)
    assert found["distilled"]["agreement"] == pytest.approx(same.mean())
    assert "agreement" not in found["teacher"]


def test_what_is_not_known_is_left_out():
    nothing = np.full(50, -1)
    assert compare_answers(nothing, {"teacher": ANSWERS["teacher"]}) == {"teacher": {}}
    alone = compare_answers(LABELS, {"distilled": ANSWERS["distilled"]})
    assert set(alone["distilled"]) == {"accuracy", "calibration_error"}


def test_a_teacher_that_said_little_is_compared_where_it_did():
    said = ANSWERS["teacher"].copy()
    said[::3] = np.nan
    asked = np.arange(50) % 3 > 0
    found = compare_answers(LABELS, {**ANSWERS, "teacher": said})
    some = compare_answers(LABELS[asked], {name: a[asked] for name, a in ANSWERS.items()})
    assert found["teacher"] == some["teacher"]
    assert found["distilled"]["agreement"] == some["distilled"]["agreement"]
    assert (
        found["distilled"]["accuracy"] == compare_answers(LABELS, ANSWERS)["distilled"]["accuracy"]
    )


def test_the_table_and_the_picture(tmp_path):
    comparison = {"teacher": ROW, "distilled": {**ROW, "accuracy": 0.5}}
    table = format_gained(comparison).splitlines()
    assert table[0].split("  ")[-1].strip() == "examples/s by 256"
    assert table[2].startswith("student, distilled  0.5000")
    assert "1,210" in table[1]
    assert "589,639" in table[1]
    assert "calibration" not in table[0]
    plot_gained(comparison, tmp_path / "gained.png")
    assert (tmp_path / "gained.png").stat().st_size > 5000

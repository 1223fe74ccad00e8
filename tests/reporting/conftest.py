"""A comparison that never ran: scores drawn at random, in the form that the command writes."""

import numpy as np
import pytest

from kt_transfer.reporting.calibration import FoldAnswers, calibrate
from kt_transfer.reporting.examples import Answers
from kt_transfer.reporting.explanations import (
    ColumnExplanation,
    Explained,
    PixelExplanation,
)

METHODS = ("parameters", "features", "distilled", "linear")


def _simulated(metric="accuracy", budgets=(50, 200, 1000), sources=("runs/source",), seed=0):
    """SIMULATED scores: ``comparison``, ``scores`` and ``curve``; no number means anything."""
    rng = np.random.default_rng(seed)
    candidates = [("scratch", "")]
    candidates += [(m, s) for m in METHODS[:3] for s in sources] + [("linear", "")]
    scores, curve, verdicts, costs = [], [], [], []
    for labels in budgets:
        hardness = rng.normal(0, 0.03, 15)
        for number, (method, source) in enumerate(candidates):
            level = 0.62 + 0.06 * np.log10(labels) + 0.04 * np.sin(number + np.log(labels))
            values = np.clip(level + hardness + rng.normal(0, 0.012, 15), 0, 1)
            own = {"method": method, "source": source, "labels": labels}
            scores += [
                own | {"repeat": n // 5, "fold": n % 5, metric: float(value)}
                for n, value in enumerate(values)
            ]
            mean, reach = float(values.mean()), float(values.std() * 0.8)
            curve.append(own | {"mean": mean, "low": mean - reach, "high": mean + reach})
            costs.append(
                own
                | {
                    "seconds": 0.4 + number,
                    "own_seconds": 0.4,
                    "num_parameters": 4810 * (number + 1),
                }
                | {"bytes": 21_300 * (number + 1), "latency_ms": 0.21 + 0.1 * number}
            )
            if method != "scratch":
                difference = mean - next(c["mean"] for c in curve if c["labels"] == labels)
                low, high = difference - 0.02, difference + 0.02
                words = ["worse", "no difference", "better"]
                kind = words[(1 if metric != "log_loss" else -1) * ((low > 0) - (high < 0)) + 1]
                verdicts.append(
                    own
                    | {"mean": mean, "difference": difference, "interval": [low, high]}
                    | {"verdict": kind, "p_value": 0.01, "detectable": 0.031}
                    | {"probabilities": {"worse": 0.1, "equal": 0.2, "better": 0.7}}
                    | {"practically_equal": False}
                )
    winner = max(verdicts, key=lambda row: (row["labels"], row["difference"]))
    comparison = {
        "metric": metric,
        "margin": 0.01,
        "beside": None,
        "constant": {"label": "0", "accuracy": 0.1, "balanced_accuracy": 0.1},
        "uses_unlabelled": ["distilled"],
        "verdicts": verdicts,
        "winner": {key: winner[key] for key in ("method", "source", "labels")}
        | {"mean": winner["mean"], "expected": winner["mean"], "bound": winner["mean"] - 0.02},
        "forecast": {"more_labels": [], "verdicts": []},
        "left": [],
        "scratch": [
            {"labels": row["labels"], "mean": row["mean"]}
            for row in curve
            if row["method"] == "scratch"
        ],
        "costs": costs,
        "methods": {method: f"what {method} is" for method, _ in candidates},
        "equal_budget": "equal budgets: all train 20 epochs",
        "until_scratch": [
            {"method": "scratch", "source": "", "labels": budgets[-1], "epochs": 20}
            | {"accuracy": 0.8, "seconds": 0.4}
        ],
        "test": {metric: 0.913},
        "transferability": [
            {"source": source, "labels": labels, "logme": -0.3 - 0.1 * n, "cka": 0.4 - 0.05 * n}
            for n, source in enumerate(sources)
            for labels in budgets
        ],
        "layers": [
            {"source": source, "source_layers": ["hidden_1", "bottleneck"]}
            | {"target_layers": ["hidden_1", "bottleneck"], "cka": [[0.71, 0.38], [0.42, 0.56]]}
            for source in sources
        ],
    }
    return comparison, scores, curve


def _with_shift_and_calibration(comparison, seed=0):
    """The same with SIMULATED scores on changed examples, and a calibration."""
    rng = np.random.default_rng(seed)
    labels = comparison["winner"]["labels"]
    candidates = [("scratch", ""), *((v["method"], v["source"]) for v in comparison["verdicts"])]
    rows = []
    for change in ("clean", "noise", "second set"):
        for method, source in dict.fromkeys(candidates):
            lost = 0.0 if change == "clean" else 0.1
            row = {"method": method, "source": source, "change": change, "lost": lost}
            row["mean"] = 0.8 - lost + 0.05 * rng.random()
            if method != "scratch":
                difference = rng.uniform(-0.2, 0.2)
                row |= {"difference": difference, "p_value": 0.01, "adjusted_p_value": 0.02}
                row["interval"] = [difference - 0.1, difference + 0.1]
                row["verdict"] = ["worse", "no difference", "better"][rng.integers(3)]
            rows.append(row)
    changes = [
        {"name": "noise", "description": "some noise"},
        {"name": "second set", "description": "labelled examples of npz:<i>.npz"},
    ]
    logits = rng.normal(0, 4, (300, 3))
    chosen = (rng.random((300, 1)) > 0.5 * (1 + np.arange(2))).sum(axis=1)
    answers = FoldAnswers(chosen, logits, np.arange(300) % 5, np.arange(300))
    return comparison | {
        "shift": {"labels": labels, "changes": changes, "rows": rows},
        "calibration": calibrate(answers) | {"is_applied": False},
    }


def _simulated_answers(examples, class_names, value_range, seed=0):
    """SIMULATED answers, about a fifth of them wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(class_names), len(examples))
    wrong = rng.random(len(labels)) < 0.2
    said = np.where(wrong, rng.integers(0, len(class_names), len(labels)), labels)
    logits = 3 * np.eye(len(class_names))[said] + rng.normal(size=(len(labels), len(class_names)))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Answers(examples, labels, probabilities, class_names, value_range)


def _simulated_explanation(examples, class_names, value_range, part="test", seed=0):
    """SIMULATED: two examples in each group, of pixels or of columns."""
    rng = np.random.default_rng(seed)
    chosen = [
        Explained(group, 7 * n, class_names[0], class_names[group != "right"], 0.9)
        for n, group in enumerate(("right", "right", "wrong", "wrong", "unsure", "unsure"))
    ]
    if examples.ndim > 2:
        shape = (6, *examples.shape[1:3])
        found = rng.normal(size=shape)
        sums = found.sum(axis=(1, 2))
        return PixelExplanation(chosen, part, examples[:6], value_range, found, sums)
    width = examples.shape[1]
    return ColumnExplanation(
        examples=chosen,
        part=part,
        names=[f"<i>column</i> {n} " + "with a long name " * (n % 3) for n in range(width)],
        metric="accuracy",
        score=0.9,
        num_examples=len(examples),
        repeats=5,
        importance=np.linspace(-0.01, 0.3, width),
        deviations=np.full(width, 0.02),
        texts=[[f"{value:.3f}" for value in row] for row in examples[:6]],
        changes=rng.uniform(-1, 1, (6, width)),
    )


@pytest.fixture(scope="session")
def simulated_explanation():
    return _simulated_explanation


@pytest.fixture(scope="session")
def simulated():
    return _simulated


@pytest.fixture(scope="session")
def simulated_answers():
    return _simulated_answers


@pytest.fixture(scope="session")
def with_shift_and_calibration():
    return _with_shift_and_calibration

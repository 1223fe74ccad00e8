"""Whose answers the temperature of the winner comes from."""

from types import SimpleNamespace

import numpy as np
import pytest

from kt_transfer.comparison import calibrating
from kt_transfer.comparison.calibrating import answers_of, temperature
from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.table import COLUMNS, Cell, Table
from kt_transfer.errors import TrainingFailed
from kt_transfer.reporting.calibration import temperature_of

WINNER = {"method": "features", "source": "s", "labels": 60}
TOO_LARGE = 3.0


@pytest.fixture
def table(tmp_path):
    """A table with the answers of the winner, too confident by that factor, and of others."""
    table, rng = Table(tmp_path), np.random.default_rng(0)
    for fold in range(3):
        rows = np.arange(300)[fold::3]
        logits = rng.normal(0, 2, (len(rows), 3))
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = np.array([rng.choice(3, p=each) for each in p])
        for name, source, budget in (
            ("features", "s", 60),
            ("scratch", "", 60),
            ("features", "s", 30),
        ):
            is_winner = (name, source, budget) == tuple(WINNER.values())
            factor = TOO_LARGE if is_winner else 50.0
            answers = HeldOut(rows, labels, factor * logits, np.full(3, 1 / 3))
            cell = Cell(name, source, budget, 0, fold)
            table.add(cell, {}, answers, **dict.fromkeys(COLUMNS[5:], 1))
    return table


def config_of(calibrate):
    return SimpleNamespace(calibrate=calibrate, seed=0)


def test_the_answers_are_those_of_the_winner_at_its_budget_by_fold(table):
    answers = answers_of(table, **WINNER)
    assert sorted(answers.examples) == list(range(300))
    assert np.bincount(answers.folds).tolist() == [100, 100, 100]
    own = table.held_out.read(Cell("features", "s", 60, 0, 1))
    np.testing.assert_array_equal(answers.logits[answers.folds == 1], own.logits)
    np.testing.assert_array_equal(answers.labels[answers.folds == 1], own.labels)


def test_of_many_answers_of_a_fold_the_first_are_taken(table, monkeypatch):
    monkeypatch.setattr(calibrating, "MOST_HELD_OUT", 40)
    answers = answers_of(table, **WINNER)
    assert len(answers.labels) == len(answers.logits) == len(answers.examples) == 120
    assert answers.examples[:3].tolist() == [0, 3, 6]


def test_the_temperature_is_used_only_if_asked_for(table):
    found = {"winner": WINNER}
    answers = answers_of(table, **WINNER)
    expected = temperature_of(answers.labels, answers.logits)
    applied = temperature(config_of(True), table, found)
    assert applied == expected == pytest.approx(TOO_LARGE, rel=0.25)
    assert found["calibration"]["is_applied"]
    assert temperature(config_of(False), table, found) == 1.0
    assert not found["calibration"]["is_applied"]
    assert found["calibration"]["temperature"] == expected


def test_lost_answers_are_told_where_they_are_needed(table):
    found = {"winner": WINNER}
    for file in table.held_out.folder.iterdir():
        file.write_bytes(b"damaged")
    assert temperature(config_of(False), table, found) == 1.0
    assert "calibration" not in found
    with pytest.raises(TrainingFailed, match="calibrate=True was given, but answers .*held_out"):
        temperature(config_of(True), table, found)

"""A time budget is kept whatever the machine does: by a clock that a test sets."""

import numpy as np
import pytest

from kt_transfer import UserError, load_data
from kt_transfer.comparison import comparing, pacing
from kt_transfer.comparison.comparison import Comparison
from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.racing import FIRST_LOOK
from kt_transfer.comparison.scoring import METRICS
from kt_transfer.comparison.table import COLUMNS, Table
from kt_transfer.methods.candidates import chosen_methods
from kt_transfer.runs.folder import Run
from kt_transfer.settings import CompareConfig

SETTINGS = {
    "labels": (40, 60),
    "folds": 4,
    "repeats": 2,
    "methods": ("scratch", "linear"),
    "hidden_units": (8,),
    "latent_dim": 4,
    "quiet": True,
}


class Machine:
    """Trains nothing; each cell takes as long as it is told, and is right as often."""

    def __init__(self, monkeypatch, tmp_path, seconds, accuracy=lambda cell: 0.5, **settings):
        self.time, self.seconds, self.measured = 0.0, seconds, []
        self.accuracy, self.settings = accuracy, {**SETTINGS, **settings}
        self.run, self.table = Run(tmp_path), Table(tmp_path)
        self.run.write_json("run.json", {})
        self.data = load_data("digits")
        monkeypatch.setattr(pacing, "now", lambda: self.time)
        monkeypatch.setattr(Comparison, "measure", self.measure)
        monkeypatch.setattr(Comparison, "serving_costs", lambda comparison: {})
        monkeypatch.setattr(pacing, "measure_pace", self.pace)

    def pace(self, comparison, ends):
        self.time += 2.0  # what timing takes
        epoch = {("scratch", "", 40): 0.02, ("scratch", "", 60): 0.03}
        return pacing.Pace({}, epoch, {"": 0.5}, 50, 1)

    def measure(self, table, cell, part):
        self.measured.append(cell)
        fold = 4 * cell.repeat + cell.fold
        self.time += self.seconds(fold) / 4
        for watch in self.watch:
            if self.time > watch.ends:
                raise pacing.OutOfTime
        labels = self.comparison.y[part.held_out]
        rng = np.random.default_rng(list(map(ord, f"{cell}")))
        right = rng.random(len(labels)) < self.accuracy(cell)
        logits = np.eye(10)[np.where(right, labels, (labels + 1) % 10)]
        numbers = dict.fromkeys(COLUMNS[5:], 1) | dict.fromkeys(METRICS, right.mean())
        numbers |= {"num_labelled": 1438, "num_held_out": len(labels), "num_train": cell.labels}
        table.add(cell, {}, HeldOut(part.held_out, labels, logits, part.shares), **numbers)

    def fill(self, budget):
        config = CompareConfig(time_budget=budget, **self.settings)
        monkeypatched = comparing.comparison_of

        def noted(*given):
            self.comparison = monkeypatched(*given)
            return self.comparison

        comparing.comparison_of = noted
        try:
            methods = chosen_methods(config.methods, epochs=config.epochs)
            comparing.fill(config, methods, self.run, self.data, self.table)
        finally:
            comparing.comparison_of = monkeypatched
        return self.run.read_json("run.json")["plan"]

    @property
    def watch(self):
        return self.comparison.watch

    def folds(self):
        """Folds in the table, each complete: two methods with two budgets."""
        found = {}
        for cell in Table(self.run.path).rows:
            found[cell.repeat, cell.fold] = found.get((cell.repeat, cell.fold), 0) + 1
        assert set(found.values()) == {4}
        return len(found)

    def folds_of(self, method):
        """The numbers of the folds in which a method was trained, in order."""
        return sorted({4 * c.repeat + c.fold for c in Table(self.run.path).rows if c[0] == method})


METHODS = ("scratch", "linear", "propagated")
BY_METHOD = {"scratch": 0.8, "linear": 0.5, "propagated": 0.9}


def raced(monkeypatch, tmp_path, seconds=12.0, budget="150s"):
    machine = Machine(
        monkeypatch,
        tmp_path,
        lambda fold: seconds,
        lambda cell: BY_METHOD[cell.method],
        methods=METHODS,
    )
    return machine, machine.fill(budget)


def test_what_cannot_win_any_more_leaves_and_its_time_goes_into_further_folds(
    monkeypatch, tmp_path
):
    machine, plan = raced(monkeypatch, tmp_path)
    left_after = len(machine.folds_of("linear"))
    assert FIRST_LOOK <= left_after < len(machine.folds_of("propagated")) == plan["folds"]
    # Scratch is held against the others to the end, though it cannot win.
    assert machine.folds_of("scratch") == machine.folds_of("propagated")
    assert machine.time <= 150 * 1.1


def test_a_resumed_race_goes_on_as_it_was(monkeypatch, tmp_path):
    machine, plan = raced(monkeypatch, tmp_path)
    before = {method: machine.folds_of(method) for method in METHODS}
    machine.measured, machine.table = [], Table(tmp_path)
    assert machine.fill("150s") == plan
    assert machine.measured == []
    assert {method: machine.folds_of(method) for method in METHODS} == before


def test_on_a_calm_machine_all_is_trained(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, lambda fold: 6.0)
    plan = machine.fill("3m")
    assert plan["folds"] == machine.folds() == 8


@pytest.mark.parametrize(
    "seconds",
    [
        lambda fold: 20.0,  # slower than the first epochs said
        lambda fold: 5.0 + 4 * fold,  # ever slower
        lambda fold: 4.0 if fold < 3 else 500.0,  # suddenly busy
    ],
)
def test_on_a_busy_machine_folds_are_left_out(monkeypatch, tmp_path, seconds):
    machine = Machine(monkeypatch, tmp_path, seconds)
    plan = machine.fill("90s")
    # The last fit is ended at the end of an epoch: here it is a cell of 500 / 4 seconds.
    late = 125.0 if seconds(7) == 500.0 else 0.0
    assert machine.time + plan["end_seconds"] <= 90 * 1.1 + late
    assert plan["folds"] == machine.folds() < 8
    assert machine.comparison.num_trained == min(plan["folds"], 4)


def test_a_resumed_run_follows_the_plan(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, lambda fold: 20.0)
    plan = machine.fill("90s")
    measured, machine.measured = machine.measured, []
    machine.table = Table(tmp_path)
    assert machine.fill("90s") == plan
    assert measured
    assert machine.measured == []


def test_seconds_of_an_interrupted_run_count(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, lambda fold: 6.0)
    machine.run.write_json("run.json", {"wall_seconds": 60.0})
    plan = machine.fill("2m")
    assert plan["folds"] < 8


def test_too_little_time_is_refused_before_anything_is_trained(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, lambda fold: 6.0)
    with pytest.raises(UserError, match="time_budget=10s .*two folds of scratch and linear"):
        machine.fill("10s")
    assert machine.measured == []


def test_a_machine_that_stands_still_is_said(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, lambda fold: 1000.0)
    with pytest.raises(UserError, match="up after 0 of the 2 folds"):
        machine.fill("90s")
    assert len(machine.measured) == 1

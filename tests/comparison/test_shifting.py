"""Which examples the candidates are asked about, and what is kept of their answers."""

import csv
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from kt_transfer.comparison import shifting
from kt_transfer.comparison.comparison import Part
from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.scoring import METRICS, scores
from kt_transfer.comparison.shifting import MOST_EXAMPLES, Shift, second_set, shift_of
from kt_transfer.comparison.table import COLUMNS, Cell, Table
from kt_transfer.data import load_data
from kt_transfer.data.shifts import changed, spread_of
from kt_transfer.errors import UserError
from kt_transfer.runs import session
from kt_transfer.settings import CompareConfig

FOLDS = 3
CELLS = [Cell(method, "", 60, 0, fold) for fold in range(FOLDS) for method in ("scratch", "linear")]


def write(path, rows=240, width=6, classes=("a", "b"), seed=0, shape=None, **arrays):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, *(shape or (width,))))
    y = np.array(classes)[np.arange(rows) % len(classes)]
    np.savez(path, **{"x": x, "y": y, **arrays})
    return f"npz:{path}"


class Asked:
    """Stands in for what was learned: notes what it is asked, answers by the first value."""

    def __init__(self):
        self.x = []

    def logits(self, x):
        self.x.append(x)
        first = x.reshape(len(x), -1)[:, 0].astype(float)
        return np.stack([first, -first], axis=1)


def parts_of(data):
    rows = np.flatnonzero(data.y >= 0)[:60]
    for fold in range(FOLDS):
        held_out = rows[fold::FOLDS]
        seen = np.setdiff1d(np.arange(len(data.x)), held_out)
        train = np.setdiff1d(rows, held_out)
        yield Part(60, 0, fold, train, held_out, seen, np.array([0.5, 0.5]))


def measure_all(shift, data, cells=CELLS):
    comparison = SimpleNamespace(x=data.x, y=data.y, examples=lambda part, rows: data.x[rows])
    parts, asked = list(parts_of(data)), {}
    for cell in cells:
        asked[cell] = Asked()
        part = parts[cell.fold]
        clean = Asked().logits(data.x[part.held_out])
        shift.measure(cell, part, asked[cell], clean, comparison)
    return asked


def config_of(spec, **options):
    options = {"labels": (60,), "folds": FOLDS, "quiet": True, **options}
    return CompareConfig(data=spec, **options)


def shift_on(tmp_path, spec, **options):
    data = load_data(spec)
    return shift_of(config_of(spec, **options), data, tmp_path), data


def test_all_candidates_of_a_fold_are_asked_the_same(tmp_path):
    shift, data = shift_on(tmp_path, write(tmp_path / "a.npz"), shift=True)
    assert [change.name for change in shift.changes] == ["noise", "missing", "drift"]
    asked = measure_all(shift, data)
    for fold in range(FOLDS):
        one, other = (asked[cell] for cell in CELLS if cell.fold == fold)
        for x, same in zip(one.x, other.x, strict=True):
            np.testing.assert_array_equal(x, same)
    assert not np.array_equal(asked[CELLS[0]].x[0], asked[CELLS[2]].x[0])


def test_what_is_kept_are_the_scores_of_the_answers(tmp_path):
    shift, data = shift_on(tmp_path, write(tmp_path / "a.npz"), shift=True)
    (asked,) = measure_all(shift, data, CELLS[:1]).values()
    part = next(parts_of(data))
    row = shift.rows[CELLS[0], "drift"]
    logits = Asked().logits(asked.x[2])
    expected = scores(data.y[part.held_out], logits, part.shares)
    assert {name: row[name] for name in METRICS} == expected
    clean = scores(data.y[part.held_out], Asked().logits(data.x[part.held_out]), part.shares)
    row = shift.rows[CELLS[0], "clean"]
    assert {name: row[name] for name in METRICS} == clean
    assert row["num_examples"] == len(part.held_out)


def test_the_spread_is_that_of_what_may_be_seen(tmp_path):
    x = np.random.default_rng(0).normal(size=(240, 6))
    spec = write(tmp_path / "a.npz", x=x, x_test=x[:50] + 5, y_test=np.array(["a", "b"] * 25))
    shift, data = shift_on(tmp_path, spec, shift=True)
    part = next(parts_of(data))
    data.x[part.held_out] *= 1000.0  # which nobody can know
    asked = measure_all(shift, data, CELLS[:1])[CELLS[0]]
    noise = asked.x[0] - data.x[part.held_out]
    assert 0.15 < noise.std() < 0.35
    spread = spread_of(data.x[part.seen])
    drift = np.abs(asked.x[2] - data.x[part.held_out]).max(axis=0)
    np.testing.assert_allclose(drift.max(), 0.5 * spread.deviation[drift.argmax()], rtol=1e-9)


def test_pictures_stay_in_their_range(tmp_path):
    shift, data = shift_on(tmp_path, "digits", shift=True)
    data = dataclasses.replace(data, y=data.y % 2)  # Asked knows two classes
    asked = measure_all(shift, data, CELLS[:1])[CELLS[0]]
    assert len(asked.x) == 5
    for x in asked.x:
        assert x.dtype == np.uint8
        assert x.max() <= 16
    part = next(parts_of(data))
    np.testing.assert_array_equal(
        asked.x[3], changed("brightness", data.x[part.held_out], seed=1, value_range=(0, 16))
    )


def test_of_many_held_out_examples_the_first_are_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(shifting, "MOST_HELD_OUT", 7)
    shift, data = shift_on(tmp_path, write(tmp_path / "a.npz"), shift=True)
    asked = measure_all(shift, data, CELLS[:1])[CELLS[0]]
    assert [len(x) for x in asked.x] == [7, 7, 7]
    assert {row["num_examples"] for row in shift.rows.values()} == {7}
    held_out = next(parts_of(data)).held_out[:7]
    kept = (asked.x[1] == data.x[held_out]).all(axis=0)
    assert kept.sum() == 5  # one column is missing, the others are those of the same examples


def test_what_was_kept_is_read_back_and_nothing_is_asked_twice(tmp_path):
    spec = write(tmp_path / "a.npz")
    shift, data = shift_on(tmp_path, spec, shift=True)
    measure_all(shift, data)
    again, _ = shift_on(tmp_path, spec, shift=True)
    assert again.rows == shift.rows
    assert all(map(again.has, CELLS))
    table = Table(tmp_path)
    for cell in CELLS:
        answers = HeldOut(*(np.zeros(1) for _ in HeldOut._fields))
        table.add(cell, {}, answers, **dict.fromkeys(COLUMNS[5:], 1))
    again.forget_unasked(table, 60)
    assert len(table.rows) == len(CELLS)
    assert len(again.rows_of(table)) == 4 * len(CELLS)
    # A cell whose answers were lost is trained again, one that the table forgot does not count.
    del again.rows[CELLS[1], "noise"]
    again.forget_unasked(table, 60)
    assert CELLS[1] not in table
    assert {row["fold"] for row in again.rows_of(table) if row["method"] == "linear"} == {1, 2}


def test_a_damaged_file_is_refused(tmp_path):
    spec = write(tmp_path / "a.npz")
    shift, data = shift_on(tmp_path, spec, shift=True)
    measure_all(shift, data)
    with open(tmp_path / "shift.csv", "a", newline="") as file:
        csv.writer(file).writerow(["linear", "", 60, 0])
    with pytest.raises(UserError, match=r"shift.csv, but it is damaged"):
        shift_on(tmp_path, spec, shift=True)


def test_a_second_set_is_dealt_to_the_folds_by_the_names_of_its_classes(tmp_path):
    spec = write(tmp_path / "a.npz")
    rows = 91
    x = np.random.default_rng(9).normal(size=(rows, 6))
    y = np.array(["b", "a"])[np.arange(rows) % 2]  # in another order
    x[:, 0] = np.where(y == "a", 1, -1) * np.arange(1, rows + 1)  # as Asked answers
    other = write(tmp_path / "b.npz", x=x, y=y)
    shift, data = shift_on(tmp_path, spec, shift_data=other)
    asked = measure_all(shift, data)
    seen = [asked[cell].x[0][:, 0] for cell in CELLS[::2]]
    assert sorted(np.concatenate(seen)) == sorted(x[:, 0])
    for cell in CELLS:
        assert shift.rows[cell, "second set"]["accuracy"] == 1.0
    assert {len(values) for values in seen} == {30, 31}


def test_the_test_part_of_a_second_set_is_taken_if_it_has_one(tmp_path):
    spec = write(tmp_path / "a.npz")
    x_test = np.random.default_rng(4).normal(size=(40, 6))
    other = write(tmp_path / "b.npz", seed=1, x_test=x_test, y_test=np.array(["a", "b"] * 20))
    second = second_set(config_of(spec, shift_data=other), load_data(spec))
    assert sorted(second.x[:, 0]) == sorted(x_test[:, 0])


def test_examples_that_the_target_has_are_left_out(tmp_path, capsys):
    spec = write(tmp_path / "a.npz")
    data = load_data(spec)
    x = np.concatenate([data.x[:30], np.random.default_rng(4).normal(size=(50, 6))])
    other = write(tmp_path / "b.npz", x=x, y=np.array(["a", "b"] * 40))
    second = second_set(config_of(spec, shift_data=other, quiet=False), data)
    assert len(second.x) == 50
    assert "30 of 80 examples are among those of" in capsys.readouterr().out


def test_of_many_examples_some_are_drawn(tmp_path):
    spec = write(tmp_path / "a.npz")
    other = write(tmp_path / "b.npz", rows=MOST_EXAMPLES + 1000, seed=1)
    config = config_of(spec, shift_data=other)
    second, again = (second_set(config, load_data(spec)) for _ in range(2))
    assert len(second.x) == MOST_EXAMPLES
    assert abs((second.y == 0).mean() - 0.5) < 0.01
    np.testing.assert_array_equal(second.x, again.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("a", "c")}, "shift_data=npz:.* with the class c, but .* knows a, b"),
        ({"width": 5}, r"shift_data=npz:.*\(5,\)"),
        ({"rows": 2}, "expected at least 3 labelled examples .*, but it has 2 of 2 classes"),
        ({"y": np.full(240, -1)}, "but it has 0 of 0 classes: give another set, one with labels"),
        ({"x": np.random.default_rng(3).normal(1e6, 1e5, (240, 6))}, "was made for"),
    ],
)
def test_mistakes_about_a_second_set(tmp_path, options, message):
    spec = write(tmp_path / "a.npz")
    options = {"seed": 1, **options}
    other = write(tmp_path / "b.npz", **options)
    with pytest.raises(UserError, match=message):
        second_set(config_of(spec, shift_data=other), load_data(spec))


def test_the_target_itself_is_no_second_set(tmp_path):
    spec = write(tmp_path / "a.npz")
    with pytest.raises(UserError, match="expected at least 3 labelled examples that .* has not"):
        second_set(config_of(spec, shift_data=spec), load_data(spec))


def test_a_metric_of_several_classes_needs_them_in_every_fold(tmp_path):
    spec = write(tmp_path / "a.npz")
    other = write(tmp_path / "b.npz", seed=1, y=np.array(["a"] * 238 + ["b"] * 2))
    config = config_of(spec, shift_data=other, metric="macro_f1")
    with pytest.raises(UserError, match="of each of two classes"):
        second_set(config, load_data(spec))
    assert second_set(config_of(spec, shift_data=other), load_data(spec)).spec == other


def test_a_column_of_words_cannot_be_changed(tmp_path):
    (tmp_path / "a.csv").write_text("word,class\n" + "red,a\nblue,b\n" * 40)
    config = config_of(f"csv:{tmp_path / 'a.csv'}", shift=True, label_column="class")
    data = session.load_data(config, config.data)
    with pytest.raises(UserError, match="a single column of words: leave it out"):
        Shift(tmp_path, data, is_changed=True, second=None, seed=0, num_folds=3)

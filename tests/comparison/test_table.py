import csv

import numpy as np
import pytest

from kt_transfer.comparison.held_out import HeldOut
from kt_transfer.comparison.scoring import METRICS
from kt_transfer.comparison.table import COLUMNS, Cell, Table

NUMBERS = {
    **dict.fromkeys(METRICS, 1 / 3),
    "seconds": 0.5,
    "pretrain_seconds": 0.25,
    "fit_seconds": 0.125,
    "head_seconds": 0.0625,
    "steps": 30,
    "num_parameters": 99,
    "num_train": 40,
    "num_held_out": 10,
    "num_labelled": 1000,
}

ANSWERS = HeldOut(
    np.array([4, 7, 9]), np.array([0, 1, 1]), np.array([[2.0, 0], [0, 1], [3, 0]]), np.full(2, 0.5)
)


def test_rows_come_back_as_they_were(tmp_path):
    table, cell = Table(tmp_path), Cell("scratch", "", 50, 1, 2)
    table.add(cell, {5: 0.25, 10: 1 / 3}, ANSWERS, **NUMBERS)
    again = Table(tmp_path)
    assert cell in again
    assert Cell("scratch", "", 50, 1, 3) not in again
    assert again.rows == table.rows
    assert again.curves == table.curves
    assert list(again.frame().columns) == list(COLUMNS)
    assert again.frame().loc[0, "accuracy"] == 1 / 3


def test_a_curve_without_its_row_is_left_out(tmp_path):
    table = Table(tmp_path)
    table.add(Cell("scratch", "", 50, 0, 0), {5: 0.5}, ANSWERS, **NUMBERS)
    with open(tmp_path / "curves.csv", "a", newline="") as file:
        csv.writer(file).writerow(["scratch", "", 50, 0, 1, 5, 0.5])
    assert list(Table(tmp_path).curves) == [Cell("scratch", "", 50, 0, 0)]


def test_what_is_forgotten_is_gone(tmp_path):
    table = Table(tmp_path)
    table.add(Cell("scratch", "", 50, 0, 0), {}, ANSWERS, **NUMBERS)
    table.forget(0, 0)
    table.add(Cell("linear", "", 50, 0, 0), {}, ANSWERS, **NUMBERS)
    assert [cell.method for cell in Table(tmp_path).rows] == ["linear"]


@pytest.mark.parametrize("name", [".comparison.csv", ".curves.csv"])
def test_no_half_written_file_is_left(tmp_path, name):
    Table(tmp_path).add(Cell("scratch", "", 50, 0, 0), {}, ANSWERS, **NUMBERS)
    assert not (tmp_path / name).exists()


def test_the_cells_of_one_fold_are_left_out(tmp_path):
    table = Table(tmp_path)
    for fold in (0, 1):
        for method in ("scratch", "linear"):
            numbers = dict.fromkeys(COLUMNS[5:], 1)
            table.add(Cell(method, "", 50, 0, fold), {1: 0.5}, ANSWERS, **numbers)
    table.forget(0, 1)
    for found in (table, Table(tmp_path)):
        assert {cell.fold for cell in found.rows} == {cell.fold for cell in found.curves} == {0}
        assert len(found.rows) == 2


def test_a_cell_without_its_answers_is_not_finished(tmp_path):
    table = Table(tmp_path)
    for fold in (0, 1):
        table.add(Cell("scratch", "", 50, 0, fold), {}, ANSWERS, **NUMBERS)
    for path in (tmp_path / "checkpoint" / "held_out").iterdir():
        path.write_bytes(b"damaged")
        path.unlink()
        break
    assert len(Table(tmp_path).rows) == 1


def test_examples_contribute_what_the_score_is_the_mean_of(tmp_path):
    table, cell = Table(tmp_path), Cell("scratch", "", 50, 0, 0)
    table.add(cell, {}, ANSWERS, **NUMBERS)
    points = Table(tmp_path).points("accuracy")[cell]
    assert points.rows.tolist() == [4, 7, 9]
    assert points.values.tolist() == [1, 1, 0]
    # One of class 0 is right, and one of two of class 1.
    assert table.points("balanced_accuracy")[cell].values.mean() == pytest.approx(0.75)
    losses = [np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log1p(np.exp(3.0))]
    np.testing.assert_allclose(table.points("log_loss")[cell].values, losses)
    assert table.points("auc") == {}


def test_a_cell_whose_answers_are_damaged_is_trained_again(tmp_path):
    table = Table(tmp_path)
    for fold in (0, 1):
        table.add(Cell("scratch", "", 50, 0, fold), {}, ANSWERS, **NUMBERS)
    next((tmp_path / "checkpoint" / "held_out").iterdir()).write_bytes(b"PK damaged")
    assert len(Table(tmp_path).rows) == 1


def test_candidates_are_paired_on_the_folds_of_the_first(tmp_path):
    table = Table(tmp_path)
    for fold in (0, 1):
        table.add(Cell("scratch", "", 50, 0, fold), {}, ANSWERS, **NUMBERS)
    # It left after the first fold.
    table.add(Cell("linear", "", 50, 0, 0), {}, ANSWERS, **NUMBERS)
    own, theirs = table.paired_answers(("linear", ""), ("scratch", ""), 50)
    assert len(own) == len(theirs) == 1
    assert len(table.answers(("scratch", ""), 50)) == 2
    np.testing.assert_array_equal(own[0].rows, ANSWERS.rows)


def test_a_cell_that_is_added_anew_contributes_anew(tmp_path):
    table, cell = Table(tmp_path), Cell("scratch", "", 50, 0, 0)
    table.add(cell, {}, ANSWERS, **NUMBERS)
    assert table.points("accuracy")[cell].values.tolist() == [1, 1, 0]
    table.add(cell, {}, ANSWERS._replace(labels=np.array([1, 1, 1])), **NUMBERS)
    assert table.points("accuracy")[cell].values.tolist() == [0, 1, 0]


def test_cells_of_another_table_are_taken_and_put_in_order(tmp_path):
    cells = [Cell("scratch", "", 50, 0, fold) for fold in range(3)]
    whole, table, other = (Table(tmp_path / name) for name in ("whole", "own", "other"))
    for own, held in ((whole, cells), (table, [cells[1]]), (other, [cells[2], cells[0]])):
        own.folder.mkdir()
        for cell in held:
            own.add(cell, {5: 0.1 * cell.fold}, ANSWERS, {"fold": cell.fold}, **NUMBERS)
    table.take(Table(other.folder))
    table.order(cells)
    for name in ("comparison.csv", "curves.csv", "choices.json"):
        assert (table.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert all(cell in Table(table.folder) for cell in cells)

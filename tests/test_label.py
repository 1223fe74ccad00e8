"""Choosing what to label next, as a user does."""

import re

import numpy as np
import pandas as pd
import pytest

from kt_transfer import label, load_data


def test_the_most_uncertain_examples_without_a_label_are_written_down(chain, invoke, tmp_path):
    done = invoke("label", "--run", chain.teacher, "--count", 12)
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "label_next.csv")
    assert list(table) == ["row", "predicted", "confidence", "margin"]
    assert len(table) == table["row"].nunique() == 12
    assert table["margin"].is_monotonic_increasing
    assert (table["margin"] <= table["confidence"]).all()
    data = load_data("digits")
    splits = np.load(chain.teacher / "splits.npz")
    known = data.rows[np.r_[splits["labelled"], splits["validation"]]]
    assert not set(table["row"]) & set(known) and set(table["row"]) <= set(data.rows)
    assert "12 of 1,238 unlabelled examples of digits in label_next.csv" in done.out
    assert "pictures in label_next.png" in done.out
    assert (tmp_path / "label_next.png").stat().st_size > 5000
    then = f"python -m kt_transfer.finetune --from-run {chain.teacher} --labels 212 --out RUN"
    assert f"next: label them in your data, then {then}" in done.out


def test_they_are_more_uncertain_than_others(chain, tmp_path, capsys):
    chosen = pd.read_csv(label.run(run=chain.teacher, count=20, out=tmp_path / "a.csv", quiet=True))
    path = label.run(run=chain.teacher, count=2000, out=tmp_path / "b.csv")
    all_of_them = pd.read_csv(path)
    assert len(all_of_them) == 1238
    assert "b.csv, the first 100 pictures in " in capsys.readouterr().out
    assert chosen["margin"].mean() < 0.5 * all_of_them["margin"].mean()


def test_where_some_have_no_label_only_those_are_chosen(chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_data("digits")
    y = data.y.copy()
    y[::2] = -1
    x = data.x.copy()
    x[2] = x[0]  # the same example twice
    x[4] = x[1]  # a copy of one that has a label
    np.savez("half.npz", x=x, y=y, x_test=data.x_test, y_test=data.y_test)
    path = label.run(run=chain.teacher, data="npz:half.npz", count=2000, out="n.csv", quiet=True)
    rows = pd.read_csv(path)["row"].to_numpy()
    assert (rows % 2 == 0).all() and not {2, 4} & set(rows) and 0 in rows
    assert len(rows) == (y < 0).sum() - 2


def test_a_table_has_no_pictures(chain, invoke, tmp_path):
    data = load_data("digits")
    np.savez(tmp_path / "flat.npz", x=data.x.reshape(len(data.x), -1).astype(float), y=data.y)
    train = invoke(
        *("finetune", "--source", "scratch", "--data", "npz:flat.npz", "--labels", 60),
        *("--epochs", 2, "--hidden-units", 8, "--out", "run", "--compare-scratch", "no"),
    )
    assert train.code == 0, train.err
    done = invoke("label", "--run", "run", "--count", 5)
    assert done.code == 0 and "pictures" not in done.out
    assert not (tmp_path / "label_next.png").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--run absent", "--run absent"),
        ("--run {source}", "--run .*source was given, expected a classifier.*finetune --source"),
        ("--run {teacher} --count 0", "--count 0 .*at least 1"),
        ("--run {teacher} --out taken.csv", "taken.csv"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(flags, expected, chain, invoke, tmp_path):
    (tmp_path / "taken.csv").write_text("mine")
    words = flags.format(source=chain.source, teacher=chain.teacher).split()
    done = invoke("label", *words)
    assert done.code == 2
    assert done.err.count("\n") == 1 and re.search(expected, done.err)
    assert (tmp_path / "taken.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["taken.csv"]


def test_the_pictures_do_not_take_the_place_of_the_table(invoke):
    done = invoke("label", "--run", "run", "--out", "next.png")
    assert done.code == 2
    assert done.err.startswith("error: --out next.png was given, expected a CSV file, beside which")
    assert "give next.csv" in done.err

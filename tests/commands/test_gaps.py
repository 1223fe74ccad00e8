"""Data without some labels, without a class, with next to no rows."""

import json

import numpy as np
import pytest
from run_folders import ALONE, QUICK, logits_of, write_npz

from kt_transfer import load_data


def test_a_target_without_test_labels(invoke, tmp_path):
    data = load_data("digits")
    np.savez(tmp_path / "d.npz", x=data.x, y=data.y, x_test=data.x_test)
    words = ("--source", "scratch", "--data", "npz:d.npz", "--labels", 50, "--out", "t", *QUICK)
    done = invoke("finetune", *words)
    assert (done.code, done.err) == (0, "")
    assert "accuracy" not in json.loads((tmp_path / "t" / "metrics.json").read_text())["test"]
    done = invoke("distill", "--teacher", "t", "--student-units", 4, "--out", "s", *ALONE, *QUICK)
    assert (done.code, done.err) == (0, "")
    refused = invoke("evaluate", "--run", "t", "--out", "e")
    assert refused.code == 2
    assert "without labels in its test split" in refused.err
    assert not (tmp_path / "e").exists()


def test_a_class_that_training_never_saw(chain, invoke, tmp_path):
    data = load_data("digits")
    kept = data.y != 3
    np.savez(
        tmp_path / "d.npz", x=data.x[kept], y=data.y[kept], x_test=data.x_test, y_test=data.y_test
    )
    words = ("--source", chain.source, "--data", "npz:d.npz", "--labels", 30, *ALONE, *QUICK)
    count = (data.y_test == 3).sum()
    for number, method in enumerate((["--freeze", 1], ["--method", "features"])):
        done = invoke("finetune", *words, *method, "--out", number)
        assert (done.code, done.err) == (0, "")
        assert f"class 3 only in the test part: it cannot be learned, so {count} test" in done.out
        assert logits_of(tmp_path / str(number), data.x_test).shape == (359, 10)


@pytest.mark.parametrize("rows", [5, 12])
def test_very_little_data(invoke, tmp_path, rows):
    write_npz(tmp_path / "d.npz", classes=2, rows=rows)
    done = invoke("pretrain", "--data", "npz:d.npz", "--hidden-units", 4, "--out", "s", *QUICK)
    assert (done.code, done.err) == (0, "")
    done = invoke("finetune", "--source", "s", "--out", "t", *QUICK)
    assert (done.code, done.err) == (0, "")

"""``evaluate`` and ``predict``."""

import json

import numpy as np
import pandas as pd
import pytest
from run_folders import logits_of

from kt_transfer import load_data


def test_evaluate_measures_what_metrics_say(copied, invoke, tmp_path):
    student = copied("student")
    done = invoke("evaluate", "--run", "student")
    assert (done.code, done.err) == (0, "")
    results = json.loads((student / "evaluation.json").read_text())
    metrics = json.loads((student / "metrics.json").read_text())["test"]
    for name in ("accuracy", "loss", "calibration_error", "num_examples"):
        assert results[name] == pytest.approx(metrics[name], rel=1e-5)
    confusion = np.array(results["confusion_matrix"])
    assert confusion.sum() == 359
    assert np.trace(confusion) / 359 == pytest.approx(results["accuracy"])
    recall = [row["recall"] for row in results["per_class"]]
    assert recall == pytest.approx(np.diag(confusion) / confusion.sum(axis=1))
    assert (student / "plots" / "confusion_matrix.png").is_file()
    assert f"accuracy {results['accuracy']:.4f}" in done.out
    # The same again is no contradiction, another measurement is.
    assert invoke("evaluate", "--run", "student", "--quiet").code == 0
    refused = invoke("evaluate", "--run", "student", "--split", "train")
    assert refused.code == 2
    assert "--split train" in refused.err
    assert json.loads((student / "evaluation.json").read_text()) == results
    assert invoke("evaluate", "--run", "student", "--split", "train", "--overwrite").code == 0


def test_evaluate_an_autoencoder(chain, invoke, tmp_path):
    assert invoke("evaluate", "--run", chain.source, "--out", "e", "--quiet").out == ""
    results = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    metrics = json.loads((chain.source / "metrics.json").read_text())["test"]
    assert results["mse"] == pytest.approx(metrics["mse"], rel=1e-4)
    assert results["squared_error"] == pytest.approx(64 * metrics["mse"], rel=1e-4)
    assert (tmp_path / "e" / "plots" / "reconstructions.png").is_file()
    assert not (chain.source / "evaluation.json").exists()


def test_predictions_of_a_run_and_of_its_export_agree(chain, invoke, tmp_path):
    for flag, path in (("run", chain.student), ("model", chain.exported)):
        done = invoke("predict", f"--{flag}", path, "--data", "digits", "--out", f"{flag}.csv")
        assert (done.code, done.err) == (0, "")
    run, model = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("run", "model"))
    probabilities = [f"probability_{digit}" for digit in range(10)]
    assert list(run) == ["split", "row", "class_id", "label", *probabilities, "unusual"]
    np.testing.assert_allclose(run[probabilities], model[probabilities], atol=1e-5)
    same = ["split", "row", "class_id", "label", "unusual"]
    assert run[same].equals(model[same])
    np.testing.assert_allclose(run[probabilities].sum(axis=1), 1.0, atol=1e-4)
    assert (run["class_id"] == run[probabilities].to_numpy().argmax(axis=1)).all()
    assert (run["label"] == run["class_id"]).all()


def test_a_prediction_names_its_example(chain, invoke, tmp_path):
    from sklearn.datasets import load_digits

    assert invoke("predict", "--run", chain.student, "--out", "p.csv", "--quiet").out == ""
    table = pd.read_csv(tmp_path / "p.csv")
    digits, data = load_digits(), load_data("digits")
    assert sorted(table["row"]) == list(range(1797))
    assert set(table.loc[table["split"] == "test", "row"]) == set(data.rows_test)
    logits = logits_of(chain.student, digits.images.astype(np.uint8))
    assert (logits.argmax(axis=1)[table["row"]] == table["class_id"]).all()


def test_predict_one_split(chain, invoke, tmp_path):
    assert invoke("predict", "--run", chain.student, "--split", "test", "--out", "p.csv").code == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(table["split"]) == {"test"}
    assert len(table) == 359


@pytest.mark.parametrize("labels", ["some classes", "none", "one row"])
def test_few_new_arrays_are_measured_and_predicted(chain, invoke, tmp_path, labels):
    digits = load_data("digits")
    rows = np.flatnonzero(digits.y_test < 3)[: 1 if labels == "one row" else 40]
    y = {} if labels == "none" else {"y": digits.y_test[rows]}
    np.savez(tmp_path / "new.npz", x=digits.x_test[rows], **y)
    done = invoke("predict", "--run", chain.student, "--data", "npz:new.npz", "--out", "p.csv")
    assert (done.code, done.err) == (0, "")
    table = pd.read_csv(tmp_path / "p.csv").sort_values("row")
    logits = logits_of(chain.student, digits.x_test[rows])
    assert table["class_id"].tolist() == logits.argmax(axis=1).tolist()
    flags = ("--run", chain.student, "--data", "npz:new.npz", "--split", "all", "--out", "e")
    done = invoke("evaluate", *flags)
    if labels == "none":
        assert done.code == 2
        assert "without labels" in done.err
    else:
        results = json.loads((tmp_path / "e" / "evaluation.json").read_text())
        right = (logits.argmax(axis=1) == digits.y_test[rows]).mean()
        assert results["accuracy"] == pytest.approx(right)

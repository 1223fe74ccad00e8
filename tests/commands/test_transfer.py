"""What ``finetune`` and ``distill`` keep, train and see."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
from run_folders import ALONE, QUICK, accuracy, encoder_weights, logits_of, same

from kt_transfer import load_data
from kt_transfer.runs.folder import Run


def test_a_frozen_layer_is_bit_identical_and_the_others_learnt(chain):
    before, after = encoder_weights(chain.source), encoder_weights(chain.teacher)
    assert list(before) == list(after) == ["hidden_1", "hidden_2", "bottleneck"]
    assert [same(before[name], after[name]) for name in before] == [True, False, False]


def test_freeze_all_leaves_the_encoder_bit_identical(chain, invoke, tmp_path):
    words = (
        "--source",
        chain.source,
        "--labels",
        50,
        "--freeze",
        "all",
        "--out",
        "t",
        "--quiet",
        *ALONE,
    )
    done = invoke("finetune", *words, *QUICK)
    assert (done.code, done.out, done.err) == (0, "", "")
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)
    metrics = json.loads((tmp_path / "t" / "metrics.json").read_text())
    assert metrics["num_trained_parameters"] == 12 * 10 + 10
    # The autoencoder that the chain began with is handed on as it was.
    source = keras.saving.load_model(chain.source / "model.keras", compile=False)
    handed = keras.saving.load_model(tmp_path / "t" / "autoencoder.keras", compile=False)
    assert same(source.get_weights(), handed.get_weights())


def test_reinitialize_keeps_the_network_and_not_its_knowledge(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--reinitialize", "--freeze", "all", "--labels", 50)
    assert invoke("finetune", *words, "--out", "t", *QUICK).code == 0
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    for name in before:
        assert [w.shape for w in before[name]] == [w.shape for w in after[name]]
        assert not same(before[name], after[name])


def test_features_with_logistic_regression_are_scikit_learns(chain, invoke, tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    words = ("--source", chain.source, "--method", "features", "--labels", 60, "--out", "t", *ALONE)
    done = invoke("finetune", *words)
    assert (done.code, done.err) == (0, "")
    data = load_data("digits")
    x, x_test = (part.reshape(-1, 64) / 8.0 - 1.0 for part in (data.x, data.x_test))
    encoder = keras.saving.load_model(chain.source / "model.keras", compile=False)
    encoder = encoder.get_layer("encoder")
    rows = np.load(tmp_path / "t" / "splits.npz")["labelled"]
    strength = json.loads((tmp_path / "t" / "run.json").read_text())["logistic_regression_c"]
    codes, test_codes = (encoder.predict(part, verbose=0) for part in (x[rows], x_test))
    smallest = np.bincount(data.y[rows]).min()
    regression = GridSearchCV(
        Pipeline([("scaler", None), ("lr", LogisticRegression(C=strength, max_iter=1000))]),
        {"scaler": [StandardScaler(), StandardScaler(with_std=False)]},
        cv=StratifiedKFold(min(5, smallest), shuffle=True, random_state=0),
        scoring="neg_log_loss",
    ).fit(codes / codes.std(), data.y[rows])
    expected = regression.predict_proba(test_codes / codes.std())
    logits = logits_of(tmp_path / "t", data.x_test).astype(np.float64)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    given = exp / exp.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(given, expected, atol=1e-3)
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)


def test_one_label_a_class_is_enough_for_features(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--method", "features", "--labels", 10, "--out", "t", *ALONE)
    done = invoke("finetune", *words)
    assert (done.code, done.err) == (0, "")
    splits = np.load(tmp_path / "t" / "splits.npz")
    assert len(np.concatenate([splits["labelled"], splits["validation"]])) == 10


def test_features_with_a_dense_head(chain, invoke, tmp_path):
    words = ("--source", chain.source, "--method", "features", "--head", "dense", "--labels", 50)
    assert invoke("finetune", *words, "--out", "t", *ALONE, *QUICK).code == 0
    before, after = encoder_weights(chain.source), encoder_weights(tmp_path / "t")
    assert all(same(before[name], after[name]) for name in before)
    assert len(pd.read_csv(tmp_path / "t" / "history.csv")) == 2


def test_from_scratch_there_is_no_autoencoder_to_hand_on(invoke, tmp_path):
    words = ("--source", "scratch", "--hidden-units", 8, 4, "--latent-dim", 3, "--labels", 50)
    assert invoke("finetune", *words, "--out", "t", *QUICK).code == 0
    assert list(encoder_weights(tmp_path / "t")) == ["hidden_1", "hidden_2", "bottleneck"]
    assert not (tmp_path / "t" / "autoencoder.keras").exists()


@pytest.mark.slow
def test_two_devices_give_what_one_gives(invoke, tmp_path):
    words = ("--hidden-units", 8, "--latent-dim", 4, "--epochs", 3, "--jit-compile", "no")
    for strategy in ("one_device", "mirrored"):
        done = invoke("pretrain", *words, "--strategy", strategy, "--out", strategy)
        assert (done.code, done.err) == (0, "")
    one, two = Run(tmp_path / "one_device"), Run(tmp_path / "mirrored")
    assert two.read_json("run.json")["num_replicas"] == 2
    for part in ("test", "validation"):
        for name, value in one.read_json("metrics.json")[part].items():
            given = two.read_json("metrics.json")[part][name]
            assert given == pytest.approx(value, rel=0.01), name


def test_from_run_starts_from_its_settings(chain, invoke, tmp_path, monkeypatch):
    given = ("--from-run", chain.teacher, "--source", chain.source, "--seed", 1, "--out", "t")
    assert invoke("finetune", *given, *QUICK).code == 0
    new = json.loads((tmp_path / "t" / "config.json").read_text())
    old = json.loads((chain.teacher / "config.json").read_text())
    changed = {name for name in old if new[name] != old[name]}
    named = {"from_run", "source", "seed", "out", "epochs", "strategy", "jit_compile"}
    assert changed == named


def test_a_run_repeats_itself(invoke, tmp_path):
    words = ("--source", "scratch", "--hidden-units", 4, "--labels", 30, *QUICK)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert invoke("finetune", *words, "--seed", seed, "--out", name).code == 0
    a, b, c = (keras.saving.load_model(tmp_path / n / "model.keras").get_weights() for n in "abc")
    assert same(a, b)
    assert not same(a, c)


def test_two_teachers_are_averaged_in_probability(chain, invoke, tmp_path):
    words = (
        "--teacher",
        chain.teacher,
        chain.student,
        "--student-units",
        4,
        "--out",
        "s",
        *ALONE,
        *QUICK,
    )
    assert invoke("distill", *words).code == 0
    data = load_data("digits")
    mean = np.mean(
        [
            np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            for logits in (logits_of(run, data.x_test) for run in (chain.teacher, chain.student))
        ],
        axis=0,
    )
    metrics = json.loads((tmp_path / "s" / "metrics.json").read_text())
    assert metrics["teacher"]["accuracy"] == pytest.approx(accuracy(data.y_test, mean))
    own = mean[np.arange(len(mean)), data.y_test]
    assert metrics["teacher"]["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)


def test_a_student_sees_as_many_labels_as_asked(chain, invoke, tmp_path):
    words = ("--teacher", chain.teacher, "--student-units", 4, "--labels", 40, "--out", "s")
    assert invoke("distill", *words, *ALONE, *QUICK).code == 0
    splits = np.load(tmp_path / "s" / "splits.npz")
    assert (len(splits["labelled"]), len(splits["validation"])) == (36, 4)
    assert not set(splits["train"]) & set(splits["validation"])

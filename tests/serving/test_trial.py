"""What a model that is tried says: as predict, and as the functions behind it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from kt_transfer import UserError, export, finetune, load_data, predict
from kt_transfer.serving import trial as trials
from kt_transfer.serving.requests import WARMUP
from kt_transfer.serving.trial import answer, find_version, ground, open_trial, typical_row

pytestmark = pytest.mark.usefixtures("unchecked_exports")


@pytest.fixture(scope="module")
def digits(chain):
    return open_trial(chain.exported)


@pytest.fixture(scope="module")
def wines(of_table):
    return open_trial(of_table.version)


def test_an_answer_is_what_predict_writes(digits, chain, tmp_path):
    table = pd.read_csv(
        predict.run(model=chain.exported, split="test", quiet=True, out=tmp_path / "p.csv")
    )
    x = load_data("digits").x_test
    columns = [name for name in table if name.startswith("probability_")]
    for row in (0, 7, 100):
        said = answer(digits, x[row])
        np.testing.assert_allclose(said.probabilities, table[columns].iloc[row], atol=2e-6)
        assert said.unusual == table["unusual"].iloc[row]


def test_real_examples_are_those_of_the_run(digits, chain):
    with np.load(chain.student / "examples.npz") as kept:
        np.testing.assert_array_equal(digits.examples, kept["x"][:8])


def test_the_error_is_that_of_the_reconstruction(digits):
    said = answer(digits, digits.examples[0])
    # From raw values, 0 to 16, to those from -1 to 1.
    difference = (said.example.astype(float) - said.reconstruction) / 8
    assert said.error == pytest.approx(np.square(difference).sum(), rel=1e-4)
    assert said.unusual == (said.error > digits.metadata["reconstruction_error"]["unusual_above"])


def test_pixels_that_are_as_the_ground_carry_nothing(digits):
    mean = digits.examples.mean(axis=0, dtype=float)
    np.testing.assert_array_equal(ground(digits), np.round(mean).astype("uint8"))
    said = answer(digits, ground(digits))
    assert not said.carried.any()
    assert answer(digits, digits.examples[1]).carried.any()


def test_a_row_is_answered_as_predict_does(wines, of_table, tmp_path):
    given = {"model": of_table.version, "data": f"csv:{of_table.data}", "quiet": True}
    table = pd.read_csv(predict.run(**given, out=tmp_path / "p.csv")).set_index("row")
    columns = [name for name in table if name.startswith("probability_")]
    rows = wines.columns.matrix(pd.read_csv(of_table.data))
    for row in (0, 50, 149):
        said = answer(wines, rows[row])
        np.testing.assert_allclose(said.probabilities, table[columns].loc[row], atol=2e-6)
        assert said.unusual == table["unusual"].loc[row]


def test_what_a_column_carries_is_what_changes_with_those_of_other_rows(wines):
    row = wines.examples[2]
    said = answer(wines, row)
    label = said.probabilities.argmax()
    for place in range(len(wines.columns)):
        others = np.repeat(row[None], len(wines.examples), axis=0)
        others[:, place] = wines.examples[:, place]
        expected = said.probabilities[label] - wines.model(others)[:, label].mean()
        assert said.carried[place] == pytest.approx(expected, abs=1e-5)


def test_columns_are_reconstructed_as_what_they_hold(wines):
    for row in wines.examples:
        texts = answer(wines, row).reconstruction
        texts = dict(zip(wines.columns.names, texts, strict=True))
        assert 10 < float(texts["alcohol"]) < 16
        assert texts["colour intensity"] in {"pale", "red, clear", "dark", "missing"}
        assert "2001-01" < texts["filled"] < "2004"


def test_examples_that_were_removed_are_not_missed(chain, tmp_path):
    version = tmp_path / "digits" / "3"
    shutil.copytree(chain.exported, version)
    (version / WARMUP).unlink()
    trial = open_trial(version)
    assert trial.called == "version 3"
    assert not len(trial.examples)
    assert answer(trial, np.zeros((8, 8), "uint8")).probabilities.sum() == pytest.approx(1)
    (version / WARMUP).write_bytes(b"no records")
    assert not len(open_trial(version).examples)


def test_rows_without_examples_begin_in_the_middle(of_table, tmp_path):
    version = tmp_path / "people" / "1"
    shutil.copytree(of_table.version, version)
    (version / WARMUP).unlink()
    trial = open_trial(version)
    row = typical_row(trial)
    alcohol = trial.columns.columns[0]
    assert row[0] == (alcohol.low + alcohol.high) / 2
    assert row[list(trial.columns.names).index("colour intensity")] == 0  # the most frequent
    said = answer(trial, row)
    assert np.abs(said.carried).max() == 0


def test_a_folder_stands_for_its_newest_version(chain, tmp_path):
    for number in ("2", "10"):
        shutil.copytree(chain.exported, tmp_path / "digits" / number)
    assert find_version(tmp_path / "digits") == tmp_path / "digits" / "10"
    assert find_version(tmp_path / "digits" / "2") == tmp_path / "digits" / "2"


@pytest.mark.parametrize("made", [False, True])
def test_what_is_no_export_is_refused(tmp_path, made):
    if made:
        (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds none" if made else "does not exist"):
        find_version(tmp_path / "empty")


def test_an_autoencoder_is_refused(chain, tmp_path):
    version = export.run(run=chain.source, name="source", export_dir=tmp_path, quiet=True)
    with pytest.raises(UserError, match="it is an autoencoder"):
        open_trial(version)


def test_other_formats_are_tried_with_the_examples_beside_them(chain, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    given = {"run": chain.student, "name": "digits", "export_dir": tmp_path, "quiet": True}
    saved = open_trial(export.run(**given))
    trial = open_trial(find_version(export.run(**given, format="onnx") / "model.onnx"))
    assert (trial.called, saved.called) == ("version 1, onnx", "version 1")
    np.testing.assert_array_equal(trial.examples, saved.examples)
    said, expected = (answer(one, saved.examples[3]) for one in (trial, saved))
    np.testing.assert_allclose(said.probabilities, expected.probabilities, atol=1e-4)
    assert said.error is said.unusual is said.reconstruction is None
    assert expected.error is not None
    # Those of another run are none of it.
    note = json.loads((tmp_path / "digits" / "1" / "metadata.json").read_text())
    (tmp_path / "digits" / "1" / "metadata.json").write_text(json.dumps(note | {"run": "other"}))
    assert not len(open_trial(tmp_path / "digits" / "onnx" / "1").examples)


def test_rows_of_numbers_without_names_are_tried(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5)) + 7.0
    np.savez(tmp_path / "rows.npz", x=x, y=(x[:, 2] > 7).astype(int))
    run = finetune.run(
        data=f"npz:{tmp_path / 'rows.npz'}",
        source="scratch",
        epochs=3,
        hidden_units=8,
        latent_dim=4,
        compare_scratch="no",
        quiet=True,
        out=tmp_path / "run",
    )
    trial = open_trial(export.run(run=run, name="rows", export_dir=tmp_path, quiet=True))
    assert trial.columns.names == ("value 1", "value 2", "value 3", "value 4", "value 5")
    assert 4 < trial.columns.columns[0].low < trial.columns.columns[0].high < 10
    said = answer(trial, typical_row(trial))
    assert said.carried.shape == (5,)
    assert said.reconstruction is None


def test_of_very_many_columns_the_first_are_asked_about(wines, monkeypatch):
    monkeypatch.setattr(trials, "MOST_COLUMNS", 2)
    monkeypatch.setattr(trials, "FIRST_COLUMNS", 2)
    whole = answer(wines, wines.examples[1])
    assert whole.carried.shape == (2,)
    monkeypatch.undo()
    np.testing.assert_allclose(
        whole.carried, answer(wines, wines.examples[1]).carried[:2], atol=1e-6
    )

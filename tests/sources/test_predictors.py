"""What predicts, as a function of raw examples: a run and its export."""

import shutil

import numpy as np
import pytest

from kt_transfer import UserError, load_data
from kt_transfer.runs.folder import open_run
from kt_transfer.sources.predictors import predictor_of_export, predictor_of_run


def test_a_run_and_its_export_say_the_same_and_know_their_data(chain):
    digits, said = load_data("digits"), []
    of_run, of_export = (
        predictor_of_run(open_run(chain.student)),
        predictor_of_export(chain.exported),
    )
    assert of_run.names == of_export.names == list("0123456789")
    assert of_run.data == of_export.data == "digits"
    assert of_run.like[:2] == of_export.like[:2] == ((8, 8), "uint8")
    expected, found = (p.prepare(digits, said.append)(digits.x_test) for p in (of_run, of_export))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert said == []
    x = np.concatenate([digits.x_test, 16 - digits.x_test])
    is_unusual = of_run.unusual(x)
    assert 0.4 < is_unusual.mean() < 0.6
    assert np.array_equal(is_unusual, of_export.unusual(x))
    # Of another type that holds the same values, as a table's rows may be.
    assert np.array_equal(is_unusual, of_run.unusual(x.astype("int64")))


def test_a_run_without_an_autoencoder_does_not_tell_what_is_unusual(chain, tmp_path):
    shutil.copytree(chain.student, tmp_path / "run")
    (tmp_path / "run" / "autoencoder.keras").unlink()
    assert predictor_of_run(open_run(tmp_path / "run")).unusual is None


def test_examples_of_another_shape_are_refused(chain, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 5), "uint8"))
    other = load_data(f"npz:{tmp_path / 'x.npz'}")
    with pytest.raises(UserError, match=r"examples of shape \(5,\).* expects \(8, 8\)"):
        predictor_of_export(chain.exported).prepare(other, print)


def test_an_autoencoder_is_no_predictor(chain):
    with pytest.raises(UserError, match="expected a classifier, but it is an autoencoder"):
        predictor_of_run(open_run(chain.source))

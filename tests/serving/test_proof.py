import json
import shutil

import numpy as np
import pytest

from kt_transfer import export
from kt_transfer.serving.proof import require_same_figure

X, Y = np.arange(3000, dtype=np.float32)[:, None], np.arange(3000) % 2


def of_classes(right):
    """A model that is right for the first so many examples."""

    def ask(name, x):
        assert name == "serving_default" and len(x) <= 1024
        row = x[:, 0].astype(int)
        answer = np.where(row < right, row % 2, 1 - row % 2)
        return {"probabilities": np.where(np.arange(2) == answer[:, None], 0.9, 0.1)}

    return ask


def test_the_same_accuracy_is_given_back():
    y = np.where(np.arange(3000) < 1000, Y, -1)
    assert require_same_figure(of_classes(900), X, y, {"accuracy": 0.9}) == {"accuracy": 0.9}
    assert require_same_figure(of_classes(900), X, np.full(3000, -1), {"accuracy": 0.9}) == {}


def test_one_example_more_is_another_accuracy():
    with pytest.raises(RuntimeError, match=r"accuracy 0.299667, the run 0.3: nothing was pub"):
        require_same_figure(of_classes(899), X, Y, {"accuracy": 0.3})


def test_an_example_between_two_classes_may_fall_either_way():
    def ask(name, x):
        answers = of_classes(900)(name, x)["probabilities"]
        answers[x[:, 0] == 899] = 0.5
        return {"probabilities": answers}

    assert require_same_figure(ask, X, Y, {"accuracy": 899 / 3000})
    with pytest.raises(RuntimeError):
        require_same_figure(ask, X, Y, {"accuracy": 897 / 3000})


def test_the_error_of_an_autoencoder():
    def ask(name, x):
        assert name == "reconstruct"
        return {"reconstruction": np.zeros((len(x), 4)), "reconstruction_error": x[:, 0]}

    wanted = X.mean() / 4
    assert require_same_figure(ask, X, Y, {"mse": wanted})["mse"] == pytest.approx(wanted)
    with pytest.raises(RuntimeError, match="mse 374.875, the run 375"):
        require_same_figure(ask, X, Y, {"mse": 375.0})


@pytest.mark.usefixtures("unchecked_exports")
class TestExport:
    @pytest.fixture
    def run(self, chain, tmp_path):
        return shutil.copytree(chain.student, tmp_path / "run")

    def test_a_model_that_is_not_as_it_was_measured_is_not_published(self, run, invoke, tmp_path):
        metrics = json.loads((run / "metrics.json").read_text())
        found = metrics["test"]["accuracy"]
        metrics["test"]["accuracy"] = found - 0.01
        (run / "metrics.json").write_text(json.dumps(metrics))
        done = invoke("export", "--run", "run")
        assert done.code == 1
        assert f"has accuracy {found:.6g}, the run {found - 0.01:.6g}" in done.err
        assert not (tmp_path / "saved_models").exists()

    def test_data_that_changed_or_are_gone_are_said(self, run, invoke):
        description = json.loads((run / "run.json").read_text())
        description["data"]["fingerprint"] = "another"
        (run / "run.json").write_text(json.dumps(description))
        done = invoke("export", "--run", "run")
        assert done.code == 0
        assert "not measured again: digits has changed since the run" in done.out
        config = json.loads((run / "config.json").read_text()) | {"data": "npz:gone.npz"}
        (run / "config.json").write_text(json.dumps(config))
        done = invoke("export", "--run", "run")
        assert done.code == 0
        assert "not measured again: npz:gone.npz cannot be read any more" in done.out

    def test_the_figure_is_in_the_metadata(self, chain, of_table, of_photographs, tmp_path):
        for run, version in (
            (chain.student, chain.exported),
            (of_table.run, of_table.version),
            (of_photographs.run, of_photographs.version),
        ):
            metadata = json.loads((version / "metadata.json").read_text())
            measured = json.loads((run / "metrics.json").read_text())["test"]
            assert metadata["test_as_served"] == {"accuracy": measured["accuracy"]}
        source = of_table.run.parent / "source"
        version = export.run(run=source, name="source", export_dir=tmp_path, quiet=True)
        metadata = json.loads((version / "metadata.json").read_text())
        measured = json.loads((source / "metrics.json").read_text())["test"]
        assert metadata["test_as_served"]["mse"] == pytest.approx(measured["mse"], rel=1e-4)

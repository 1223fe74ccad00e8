"""Raw values of every kind through the commands: ranges, outliers, offsets, other types."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression

from kt_transfer import (
    FusedModel,
    TransferClassifier,
    UserError,
    compare,
    distill,
    evaluate,
    export,
    finetune,
    load_data,
    predict,
    pretrain,
)
from kt_transfer.models.preprocessing import preprocessing_model
from kt_transfer.runs.folder import open_teacher
from kt_transfer.sources.loading import load_source, load_student
from kt_transfer.sources.teachers import load_teachers

pytestmark = pytest.mark.usefixtures("unchecked_exports")
RNG = np.random.default_rng(0)
PLAIN = {"quiet": True, "strategy": "one_device", "jit_compile": "no"}
SHAPE = {"hidden_units": (24,), "latent_dim": 12}
QUICK = {**PLAIN, **SHAPE, "epochs": 40, "batch_size": 16, "learning_rate": 0.01}
LABELS = np.arange(320) % 2
IMAGES, DIGITS = (array[:700] for array in (load_digits().images, load_digits().target))


def beside(column, y, **changes):
    """A table in which one column decides, beside others of other sizes."""
    x = np.stack([column, RNG.uniform(2e4, 2e5, len(y)), RNG.normal(size=len(y))], axis=1)
    for row, value in changes.get("outliers", {}).items():
        x[row] = value
    return {"x": x, "y": y}


OFFSET = 10**9 + RNG.permutation(320)
CASES = {
    "wine": ({"x": load_wine().data, "y": load_wine().target}, 0.9),
    "a decisive 0/1 column": (beside(LABELS, LABELS), 1.0),
    "an outlier in every column": (
        beside(LABELS + RNG.normal(0, 0.1, 320), LABELS, outliers={5: 1e6, 6: -1e9}),
        0.98,
    ),
    "a small span on a large offset": (beside(OFFSET, (OFFSET > 10**9 + 160).astype(int)), 0.93),
    "the same in whole numbers": (
        {"x": OFFSET[:, None], "y": (OFFSET > 10**9 + 160).astype(int)},
        0.93,
    ),
    "digits in bytes": ({"x": IMAGES.astype(np.uint8), "y": DIGITS}, 0.87),
    "digits in bytes, flat": ({"x": IMAGES.reshape(-1, 64).astype(np.uint8), "y": DIGITS}, 0.87),
    "binary digits in bytes": ({"x": (IMAGES > 7).astype(np.uint8), "y": DIGITS}, 0.82),
    "binary digits": ({"x": IMAGES > 7, "y": DIGITS}, 0.82),
    "digits in 16 bits": ({"x": IMAGES.astype(np.float16), "y": DIGITS}, 0.87),
    "digits below 0": ({"x": (IMAGES - 100).astype(np.int16), "y": DIGITS}, 0.87),
    "the largest floats": ({"x": (IMAGES - 8) / 8 * np.float32(3.4e38), "y": DIGITS}, 0.87),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("values")


@pytest.fixture
def saved(folder):
    def save(name, **arrays):
        np.savez(folder / f"{name}.npz", **arrays)
        return f"npz:{folder / name}.npz"

    return save


@pytest.fixture(autouse=True)
def at_home(folder, monkeypatch):
    monkeypatch.chdir(folder)


def accuracy_of(run):
    return json.loads((run.path / "metrics.json").read_text())["test"]["accuracy"]


@pytest.mark.parametrize("case", CASES)
def test_values_of_every_kind_are_learned_from(case, saved):
    arrays, at_least = CASES[case]
    data = load_data(saved("case", **arrays))
    scale = preprocessing_model(*data.raw_for(by_column=True))
    regression = LogisticRegression(max_iter=1000).fit(scale(data.x), data.y)
    assert regression.score(scale(data.x_test), data.y_test) >= at_least


@pytest.mark.parametrize("case", ["a decisive 0/1 column", "binary digits in bytes"])
def test_so_do_commands(case, saved, folder):
    arrays, at_least = CASES[case]
    spec, out = saved("given", **arrays), folder / f"run-{arrays['x'].ndim}"
    run = finetune.run(source="scratch", data=spec, out=out, compare_scratch="no", **QUICK)
    assert accuracy_of(run) >= at_least


@pytest.fixture(scope="module")
def chain(folder, unchecked_exports):
    """A chain on a table with columns of every kind, and a comparison on it."""
    decisive = (OFFSET > 10**9 + 160).astype(int)
    table = beside(OFFSET, decisive, outliers={3: 1e12})
    np.savez(folder / "table.npz", **table)
    spec = f"npz:{folder / 'table.npz'}"
    source = pretrain.run(data=spec, out=folder / "source", **{**QUICK, "epochs": 3})
    teacher = finetune.run(
        source=str(source.path),
        out=folder / "teacher",
        compare_scratch="no",
        **{**PLAIN, "epochs": 20, "learning_rate": 0.01},
    )
    student = distill.run(
        teacher=[teacher.path],
        out=folder / "student",
        student_units=(16,),
        compare_scratch="no",
        **{**PLAIN, "epochs": 20, "learning_rate": 0.01},
    )
    exported = export.run(run=student.path, name="table", export_dir=folder / "served", quiet=True)
    return {"spec": spec, "x": table["x"], "y": decisive, "run": student, "model": exported} | {
        "source": source,
        "teacher": teacher,
    }


def test_a_chain_keeps_what_a_table_says(chain, folder):
    assert accuracy_of(chain["teacher"]) > 0.9
    assert accuracy_of(chain["run"]) > 0.9
    measured = evaluate.run(run=chain["run"].path, quiet=True)
    assert measured["accuracy"] == accuracy_of(chain["run"])
    ours = pd.read_csv(predict.run(run=chain["run"].path, out="ours.csv", quiet=True))
    served = pd.read_csv(predict.run(model=chain["model"], out="served.csv", quiet=True))
    assert served["unusual"].mean() < 0.1
    pd.testing.assert_frame_equal(ours, served, atol=1e-5)
    assert ours["probability_1"].nunique() > 200  # distinct values stayed distinct


def test_reconstructions_come_back_in_raw_values(chain, folder):
    evaluate.run(run=chain["source"].path, quiet=True)
    assert (chain["source"].path / "plots" / "reconstructions.png").is_file()


def test_a_run_says_what_it_was_made_for(chain):
    note = json.loads((chain["run"].path / "run.json").read_text())["made_for"]
    assert note["dtype"] == "float64"
    assert not note["is_declared"]
    low, high = np.array(note["columns"])
    assert low[0] > 10**9 - 10 and high[0] < 10**9 + 330
    exported = json.loads((chain["model"] / "metadata.json").read_text())["made_for"]
    assert exported == note


def test_compare_scales_by_column_in_every_fold(chain, folder):
    table = compare.run(
        data=chain["spec"],
        labels=(60,),
        folds=2,
        repeats=1,
        methods=("scratch", "linear"),
        out=folder / "compared",
        export_dir=folder / "served",
        **{**QUICK, "jit_compile": "auto", "epochs": 20},
    )
    means = table.groupby("method")["accuracy"].mean()
    assert means["linear"] > 0.85 and means["scratch"] > 0.8
    preprocessing = keras.saving.load_model(folder / "compared" / "preprocessing.keras")
    made = keras.saving.load_model(folder / "student" / "preprocessing.keras")
    np.testing.assert_allclose(preprocessing(chain["x"]), made(chain["x"]), atol=1e-6)


@pytest.mark.parametrize("method", ["linear", "parameters"])
def test_the_classifier_scales_as_the_commands_do(chain, method):
    x, y = chain["x"], chain["y"]
    small = {**SHAPE, "epochs": 40, "pretrain_epochs": 3, "learning_rate": 0.01}
    classifier = TransferClassifier(method, **small, batch_size=16, random_state=0)
    assert classifier.fit(x[:240], y[:240]).score(x[240:], y[240:]) > 0.9
    x = x.copy()
    x[7, 2] = 1e300
    assert classifier.fit(x[:240], y[:240]).score(x[240:], y[240:]) > 0.9


def with_values(values, spec, saved, name="other", dtype=np.float64):
    """The data of a spec with other values, saved under a name."""
    data = load_data(spec)
    x, x_test = (values(part.astype(np.float64)).astype(dtype) for part in (data.x, data.x_test))
    return saved(name, x=x, x_test=x_test, y=data.y, y_test=data.y_test)


ELSEWHERE = {
    "in 0 to 1": lambda x: x / 16,
    "in -1 to 1": lambda x: x / 8 - 1,
    "standardized": lambda x: (x - x.mean()) / x.std(),
    "in 0 to 255": lambda x: x * 15.9375,
}
LIKE = {"floats": lambda x: x, "dark": lambda x: x // 5, "one picture": lambda x: x[:2]}


@pytest.mark.parametrize("values", ELSEWHERE)
def test_a_run_refuses_another_unit(chain_of_digits, values, saved):
    spec = with_values(ELSEWHERE[values], "digits", saved)
    run, model = chain_of_digits["run"], chain_of_digits["model"]
    given = {"data": spec, "quiet": True}
    for what in (
        lambda: predict.run(run=run, out="refused.csv", **given),
        lambda: predict.run(model=model, out="refused.csv", **given),
        lambda: evaluate.run(run=run, out="elsewhere", **given),
        lambda: distill.run(teacher=[run], out="refused", **given),
        lambda: distill.run(teacher=[model], out="refused", **given),
    ):
        with pytest.raises(UserError, match="made for whole numbers in 0 to 16, not|0 to 16, not"):
            what()
    assert not Path("refused").exists() and not Path("refused.csv").exists()
    assert not Path("elsewhere").exists()


def test_the_same_values_of_another_type_are_taken_and_it_is_said(chain_of_digits, saved, capfd):
    same = with_values(LIKE["floats"], "digits", saved, "same")
    run, model = chain_of_digits["run"], chain_of_digits["model"]
    expected = evaluate.run(run=run, out="own", quiet=True)["accuracy"]
    assert expected > 0.8
    assert evaluate.run(run=run, data=same, out="same")["accuracy"] == expected
    assert "values of type float64 are taken as uint8" in capfd.readouterr().out
    own = pd.read_csv(predict.run(run=run, out="own.csv", split="test", quiet=True))
    for number, given in enumerate(({"run": run}, {"model": model})):
        path = predict.run(data=same, split="test", out=f"{number}.csv", **given)
        np.testing.assert_allclose(pd.read_csv(path).probability_0, own.probability_0, atol=1e-5)
        assert "values of type float64 are taken as uint8" in capfd.readouterr().out
    data = load_data(same)
    for path, opened in ((run, open_teacher(run)), (model, open_teacher(model))):
        teacher = load_teachers([path], [opened], data)
        answers = FusedModel(teacher.model).predict(data.x_test)
        assert (answers.argmax(axis=1) == data.y_test).mean() == pytest.approx(expected)


@pytest.mark.parametrize("values", ["dark", "one picture"])
def test_ordinary_new_pictures_pass(chain_of_digits, values, saved):
    x = LIKE[values](load_data("digits").x)
    spec = saved("ordinary", x=x)
    path = predict.run(run=chain_of_digits["run"], data=spec, out=f"{values}.csv", quiet=True)
    assert len(pd.read_csv(path)) == len(x)


def test_a_table_of_another_unit_is_refused_but_a_column_may_drift(chain, saved):
    run, x = chain["run"].path, chain["x"]
    drifted = x.copy()
    drifted[:, 1] *= 1000
    predict.run(run=run, data=saved("drifted", x=drifted), out="drifted.csv", quiet=True)
    for number, other in enumerate((x / 255, (x - x.mean(0)) / x.std(0), x * 1000)):
        spec = saved(f"unit-{number}", x=other)
        with pytest.raises(UserError, match="made for other values in . of its 3 columns"):
            predict.run(run=run, data=spec, out="unit.csv", quiet=True)


@pytest.fixture(scope="module")
def chain_of_digits(folder, unchecked_exports):
    run = finetune.run(
        source="scratch", data="digits", labels=400, out=folder / "digits-run", **QUICK
    )
    model = export.run(run=run.path, name="digits", export_dir=folder / "served", quiet=True)
    return {"run": run.path, "model": model}


@pytest.fixture
def file(folder):
    """A classifier of digits that scales 0 to 16 itself."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), keras.layers.Dense(12)]
    model = keras.Sequential([keras.Input((8, 8)), *layers, keras.layers.Dense(10)])
    model.save(folder / "file.keras")
    return folder / "file.keras"


def test_a_file_that_scales_by_itself_is_given_what_it_was_made_for(file, saved):
    digits, scaled = load_data("digits"), load_data(with_values(lambda x: x / 16, "digits", saved))
    said = []
    own, adapted = (
        load_teachers([file], [None], data, output="logits", say=said.append).model
        for data in (digits, scaled)
    )
    np.testing.assert_allclose(adapted(scaled.x[:20]), own(digits.x[:20]), atol=1e-4)
    assert len(said) == 1 and "expects 8x8 in [0, 16]: examples 8x8 in [0, 1]" in said[0]
    for load in (lambda data: load_source(str(file), None, data), lambda d: load_student(file, d)):
        assert load(digits)[1].values is None
        assert load(scaled)[1].values == (0.0, 16.0)


def test_a_served_model_of_bytes_is_not_given_fractions(file, folder, saved):
    network, module = keras.saving.load_model(file), tf.Module()
    module.network = network
    spec = tf.TensorSpec([None, 8, 8], tf.uint8, name="image")
    answer = tf.function(lambda image: {"logits": network(image)}, input_signature=[spec])
    tf.saved_model.save(module, folder / "foreign", signatures=answer)
    scaled = load_data(with_values(lambda x: x / 16, "digits", saved))
    with pytest.raises(UserError, match="made for whole numbers from 0 to 255, not values in 0 to"):
        load_teachers([folder / "foreign"], [None], scaled)
    same = load_data(with_values(lambda x: x, "digits", saved))
    teacher = load_teachers([folder / "foreign"], [None], same).model
    np.testing.assert_allclose(teacher(same.x[:9]), network(same.x[:9]), atol=1e-5)

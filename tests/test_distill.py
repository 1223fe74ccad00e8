"""What distill does beyond the chain: other teachers and students, hints, views, what it gained."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from kt_transfer import distill, load_data
from kt_transfer.reporting.classification import softmax
from kt_transfer.runs import recording
from kt_transfer.runs.folder import Run
from kt_transfer.sources.teachers import load_teachers

PLAIN = ("--strategy", "one_device", "--jit-compile", "no")
QUICK = ("--epochs", 2, "--quiet", "--compare-scratch", "no", *PLAIN)
SETTINGS = {"strategy": "one_device", "jit_compile": "no", "quiet": True}


def metrics_of(path):
    return json.loads((path / "metrics.json").read_text())


def write_student(path, *, classes=10, activation="softmax", shape=(8, 8, 1)):
    keras.utils.set_random_seed(3)
    stack = [layers.Rescaling(1 / 16), layers.Conv2D(4, 3, activation="relu", name="maps")]
    end = [
        layers.Flatten(),
        layers.Dense(12, "relu", name="code"),
        layers.Dense(classes, activation),
    ]
    model = keras.Sequential([keras.Input(shape), *stack, *end])
    model.save(path)
    return model


@pytest.fixture(scope="module")
def gained(chain, tmp_path_factory):
    out = tmp_path_factory.mktemp("gained") / "s"
    run = distill.run(
        teacher=[chain.teacher], student_units=(8,), epochs=6, out=out, seed=1, **SETTINGS
    )
    return run.path


def test_what_was_gained_is_measured(gained, chain):
    data, metrics = load_data("digits"), metrics_of(gained)
    comparison = metrics["comparison"]
    assert list(comparison) == ["teacher", "scratch", "distilled"]
    for name, row in comparison.items():
        assert 0 < row["latency_ms"] < 1000
        assert row["throughput"] > 100
        assert ("agreement" in row) == (name != "teacher")
    teacher, student = comparison["teacher"], comparison["distilled"]
    assert teacher["accuracy"] == metrics_of(chain.teacher)["test"]["accuracy"]
    assert student["accuracy"] == metrics["test"]["accuracy"]
    assert student["calibration_error"] == metrics["test"]["calibration_error"]
    assert student["num_parameters"] == metrics["num_parameters"] == 64 * 8 + 8 + 80 + 10
    assert student["num_bytes"] == (gained / "model.keras").stat().st_size
    assert teacher["num_bytes"] == (chain.teacher / "model.keras").stat().st_size
    assert student["agreement"] == metrics["agreement_with_teacher"]
    assert comparison["scratch"]["num_parameters"] == student["num_parameters"]
    assert comparison["scratch"]["accuracy"] > 0.3  # it was trained, on the labels alone
    assert len(data.x_test) == metrics["test"]["num_examples"]
    assert (gained / "plots" / "gained.png").stat().st_size > 10_000


def test_the_student_from_scratch_has_the_same_start_and_as_many_steps(gained, chain, monkeypatch):
    from kt_transfer.engine.fused_model import FusedModel
    from kt_transfer.training.distiller import Distiller

    fits = []
    fit = FusedModel.fit

    def noted(self, x, y=None, **options):
        network = getattr(self.model, "student", self.model)
        fits.append((self.model, x, y, options, network.get_weights()))
        return fit(self, x, y, **options)

    monkeypatch.setattr(FusedModel, "fit", noted)
    distill.run(
        teacher=[chain.teacher],
        student_units=(8,),
        epochs=1,
        out=gained.parent / "t",
        **SETTINGS,
        compare_scratch="yes",
    )
    (_, x, (_, soft), options, start), (model, own_x, own_y, own_options, own_start) = fits
    assert not isinstance(model, Distiller)
    assert len(x) == len(own_x) == len(soft)
    labelled = np.load(gained.parent / "t" / "splits.npz")["labelled"]
    data = load_data("digits")
    assert (own_y == np.resize(data.y[np.sort(labelled)], len(x))).all()
    assert options["epochs"] == own_options["epochs"] == 1
    assert options["batch_size"] == own_options["batch_size"]
    for a, b in zip(start, own_start, strict=True):
        assert np.array_equal(a, b)


def test_no_comparison_with_scratch_where_there_is_no_label(chain, invoke, tmp_path):
    data = load_data("digits")
    np.savez(tmp_path / "d.npz", x=data.x[:200], y=data.y[:200])  # data that no teacher saw
    words = ("--teacher", chain.teacher, "--data", "npz:d.npz", "--out", "s", "--epochs", 2)
    done = invoke("distill", *words, "--compare-scratch", "yes", *PLAIN)
    assert done.code == 0, done.err
    assert list(metrics_of(tmp_path / "s")["comparison"]) == ["teacher", "distilled"]
    assert "0 of them with a label" in done.out
    assert "student, distilled" in done.out


@pytest.mark.slow
def test_a_file_teaches_a_file(invoke, tmp_path):
    write_student(tmp_path / "teacher.keras")
    untrained = invoke("distill", "--teacher", "teacher.keras", "--out", "s", *QUICK)
    assert untrained.code == 2
    assert "teacher.keras was given, expected one whose answers agree with" in untrained.err
    assert not (tmp_path / "s").exists()
    student = write_student(tmp_path / "student.keras")
    words = ("--teacher", "teacher.keras", "--student", "student.keras", "--out", "s")
    # Raw values, which is what it takes anyway: said so, a teacher at chance is taken, aloud.
    words = (*words, "--teacher-range", 0, 16)
    done = invoke("distill", *words, *QUICK, "--learning-rate", 1e-12)
    assert done.code == 0, done.err
    assert "warning: --teacher teacher.keras is no better than chance: it is right" in done.err
    # Untrained, it says what the file says: weights and head were kept.
    data = load_data("digits")
    run = Run(tmp_path / "s")
    logits = run.load_model()(run.load_model("preprocessing.keras")(data.x_test)).numpy()
    np.testing.assert_allclose(softmax(logits), student(data.x_test[..., None]), atol=1e-4)
    assert metrics_of(tmp_path / "s")["agreement_with_teacher"] == 1.0
    note = run.read_json("run.json")
    assert "student expects 8x8x1 in raw values" in note["adaptation"]
    # It is exported, evaluated and fine-tuned as any other.
    assert invoke("export", "--run", "s", "--name", "s").code == 0
    assert invoke("evaluate", "--run", "s").code == 0
    words = ("--source", "s", "--labels", 50, "--epochs", 1, "--out", "f", *PLAIN)
    assert invoke("finetune", *words).code == 0


def test_a_student_with_another_head_gets_a_new_one(chain, invoke, tmp_path):
    write_student(tmp_path / "student.keras", classes=7)
    words = ("--teacher", chain.teacher, "--student", "student.keras", "--out", "s")
    assert invoke("distill", *words, *QUICK).code == 0
    model = Run(tmp_path / "s").load_model()
    assert model.output_shape == (None, 10)
    assert "maps" in [layer.name for layer in model.get_layer("encoder").layers]


def test_hints_are_left_out_of_what_is_saved(chain, invoke, tmp_path):
    words = ("--teacher", chain.teacher, "--student-units", 6, "--hint", "hidden_2", "--out", "s")
    done = invoke("distill", *words, "--hint-epochs", 1, "--hint-loss", "cosine", *QUICK)
    assert done.code == 0, done.err
    history = (tmp_path / "s" / "history.csv").read_text()
    assert "hint_loss" in history
    model = Run(tmp_path / "s").load_model()
    assert model.count_params() == 64 * 6 + 6 + 60 + 10


@pytest.mark.slow
def test_a_teacher_of_other_classes(chain, invoke, tmp_path):
    data = load_data("digits")
    parity = {"y": data.y % 2, "y_test": data.y_test % 2}
    # As floats, whose range is the one that they span: of bytes it is 0 to 255.
    x, x_test = (part.astype(np.float32) for part in (data.x, data.x_test))
    np.savez(tmp_path / "d.npz", x=x, x_test=x_test, **parity)
    class_map = {str(n): str(n % 2) for n in range(10)}
    (tmp_path / "map.json").write_text(json.dumps(class_map))
    shared = (
        "distill",
        "--teacher",
        chain.teacher,
        "--data",
        "npz:d.npz",
        "--learning-rate",
        0.01,
        "--epochs",
        8,
        *PLAIN,
    )
    assert invoke(*shared, "--class-map", "map.json", "--out", "mapped").code == 0
    found = metrics_of(tmp_path / "mapped")
    teacher = load_teachers([chain.teacher], [Run(chain.teacher)], data).model
    odd = softmax(teacher.predict(data.x_test, verbose=0))[:, 1::2].sum(axis=1) > 0.5
    assert found["teacher"]["accuracy"] == pytest.approx((odd == data.y_test % 2).mean())
    assert found["agreement_with_teacher"] > 0.7  # without any label of its own
    hints = ("--loss", "none", "--hint", "hidden_2", "--labels", 400, "--alpha", 1.0)
    done = invoke(*shared, *hints, "--out", "hinted")
    assert done.code == 0, done.err
    found = metrics_of(tmp_path / "hinted")
    assert "teacher" not in found
    assert "accuracy" not in found["comparison"]["teacher"]
    assert found["test"]["accuracy"] > 0.6


@pytest.mark.parametrize("augment", ["shift:1", "noise:0.1"])
def test_views_are_made_in_the_step(chain, invoke, tmp_path, augment):
    words = ("--teacher", chain.teacher, "--student-units", 8, "--augment", augment, "--out", "s")
    done = invoke("distill", *words, *QUICK)
    assert done.code == 0, done.err
    assert "val_distillation_loss" in (tmp_path / "s" / "history.csv").read_text()


def test_decoupled(chain, invoke, tmp_path):
    words = ("--teacher", chain.teacher, "--loss", "decoupled", "--beta", 2, "--out", "s")
    assert invoke("distill", *words, *QUICK).code == 0
    assert metrics_of(tmp_path / "s")["agreement_with_teacher"] > 0.1


def test_standardized_logits(chain, invoke, tmp_path):
    words = ("--teacher", chain.teacher, "--loss", "standardized", "--temperature", 2)
    assert invoke("distill", *words, "--epochs", 20, "--out", "s", *PLAIN).code == 0
    assert metrics_of(tmp_path / "s")["agreement_with_teacher"] > 0.7


def test_standardized_logits_need_three_classes(invoke, tmp_path):
    data = load_data("digits")
    x, labels = data.x[data.y < 2].astype(np.float32), data.y[data.y < 2]
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    write_student(tmp_path / "t.keras", classes=2)
    words = ("--teacher", "t.keras", "--teacher-range", 0, 16, "--data", "npz:d.npz")
    done = invoke("distill", *words, "--loss", "standardized", "--out", "s", *QUICK)
    assert done.code == 2
    assert "--loss standardized was given for 2 classes, expected at least 3" in done.err
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_hints_and_weighed_teachers_on_two_replicas(chain, command, tmp_path):
    words = ("--teacher", chain.teacher, chain.exported, "--teacher-weights", 2, 1)
    hint = ("--hint", "hidden_1", "--student-units", 8, "--augment", "shift:1")
    found = {}
    for devices in (1, 2):
        out = f"s{devices}"
        more = ("--num-devices", devices, "--out", out, "--labels", 100)
        command("distill", *words, *hint, *more, "--epochs", 2)
        found[devices] = metrics_of(tmp_path / out)["test"]["accuracy"]
    assert found[1] == pytest.approx(found[2], abs=0.15)


@pytest.mark.slow
def test_an_interrupted_distillation_goes_on(chain, tmp_path, monkeypatch):
    from kt_transfer.training.callbacks import Checkpoint

    # A checkpoint an epoch.
    monkeypatch.setattr(Checkpoint.__init__, "__defaults__", (0.0, True))
    settings = {"teacher": [chain.teacher], "student_units": (8,), "epochs": 4, **SETTINGS}
    settings |= {"hint": "hidden_1", "hint_epochs": 2, "augment": "shift:1"}
    settings["compare_scratch"] = "no"
    whole = distill.run(**settings, out=tmp_path / "whole")

    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    watching = recording.watching
    monkeypatch.setattr(recording, "watching", lambda *given: [*watching(*given), Break()])
    with pytest.raises(KeyboardInterrupt):
        distill.run(**settings, out=tmp_path / "broken")
    assert [path.name for path in (tmp_path / "broken" / "checkpoint").iterdir()] == ["2"]
    monkeypatch.setattr(recording, "watching", watching)
    again = distill.run(**settings, out=tmp_path / "broken", resume=True)
    for a, b in zip(
        whole.load_model().get_weights(), again.load_model().get_weights(), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)

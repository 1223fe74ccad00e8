import keras
import numpy as np
import pytest

from kt_transfer import FusedModel, TransferClassifier
from kt_transfer.errors import TrainingFailed
from kt_transfer.models.classifiers import fit_logistic_regression
from kt_transfer.runs import recording
from kt_transfer.runs.folder import Run
from kt_transfer.training.diverging import StopOnDivergence
from kt_transfer.training.fitting import fit

X = np.ones((8, 2), "float32")
Y = np.ones((8, 1), "float32")


def line(rate=0.1):
    """A model of one weight and no bias, which gradient descent moves by ``rate`` times 2."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="line")])
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    return model


def test_a_loss_that_is_not_finite_ends_the_fit_with_epoch_rate_and_cause():
    model = line(1e30)
    watch = StopOnDivergence(model)
    with pytest.raises(
        TrainingFailed,
        match=r"in epoch \d with a learning rate of 1e\+30: loss is (nan|inf).*learning rate is "
        "too large",
    ):
        FusedModel(model).fit(X, Y, epochs=9, batch_size=8, callbacks=[watch], verbose=0)


def test_a_loss_that_goes_wrong_within_an_epoch_ends_the_fit():
    model = line()
    x = X.copy()
    x[5] = np.inf
    with pytest.raises(TrainingFailed, match="in epoch 1 .*loss is nan"):
        FusedModel(model).fit(
            x, Y, epochs=3, batch_size=1, callbacks=[StopOnDivergence(model)], verbose=0
        )


def test_a_validation_loss_that_is_not_finite_ends_the_fit():
    model = line()
    with pytest.raises(TrainingFailed, match="in epoch 1 .*val_loss is (nan|inf)"):
        FusedModel(model).fit(
            X,
            Y,
            validation_data=(X * np.inf, Y),
            callbacks=[StopOnDivergence(model)],
            verbose=0,
        )


def test_weights_that_the_last_step_spoils_are_found_at_the_end():
    # The loss is measured before the step: of this one it is still finite.
    model = line(np.inf)
    with pytest.raises(TrainingFailed, match="in epoch 1 .*not finite .*line/kernel"):
        FusedModel(model).fit(
            X, Y, epochs=1, batch_size=8, callbacks=[StopOnDivergence(model)], verbose=0
        )


def test_weights_out_of_proportion_are_found_though_saturated_units_keep_the_loss_finite():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh", name="line")])
    model.compile(keras.optimizers.Adam(1e20), loss="mse")
    with pytest.raises(TrainingFailed, match=r"in epoch 2 .*weights of up to .*e\+20"):
        FusedModel(model).fit(
            X, Y * 0, epochs=2, batch_size=8, callbacks=[StopOnDivergence(model)], verbose=0
        )


def test_a_fit_that_goes_well_is_left_alone():
    plain, watched = line(), line()
    watched.set_weights(plain.get_weights())
    FusedModel(plain).fit(X, Y, epochs=3, verbose=0)
    FusedModel(watched).fit(X, Y, epochs=3, callbacks=[StopOnDivergence(watched)], verbose=0)
    assert all(map(np.array_equal, plain.get_weights(), watched.get_weights()))


def test_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 100)).__next__)  # one an epoch
    model = line()

    class Spoils(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                model.optimizer.learning_rate = np.inf

    with pytest.raises(TrainingFailed, match="in epoch 4 "):
        fit(
            FusedModel(model),
            model,
            X,
            Y,
            epochs=9,
            batch_size=8,
            schedule=[Spoils()],
            callbacks=recording.watching(Run(tmp_path), 9, "training", quiet=True),
        )
    (kept,) = (tmp_path / "checkpoint").iterdir()
    assert kept.name == "3"
    with np.load(kept / "variables.npz") as saved:
        assert all(np.isfinite(saved[name]).all() for name in saved.files)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_logistic_regression_refuses_features_that_are_not_finite(value):
    features = np.arange(16, dtype="float32").reshape(8, 2)
    features[3, 1] = value
    with pytest.raises(TrainingFailed, match="features that are not finite"):
        fit_logistic_regression(features, np.arange(8) % 2, 2, seed=0)


@pytest.mark.parametrize("method", ["scratch", "features"])
def test_an_estimator_raises_a_value_error(method):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    small = {"hidden_units": (4,), "latent_dim": 2, "student_units": (3,)}
    classifier = TransferClassifier(
        method, **small, epochs=3, pretrain_epochs=3, learning_rate=1e30, random_state=0
    )
    with pytest.raises(ValueError, match=rf"^{method}.* with 40 labels: .*diverged"):
        classifier.fit(x, y)

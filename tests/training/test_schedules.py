import math

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel
from kt_transfer.training.schedules import (
    constant,
    cosine,
    exponential,
    learning_rate_callbacks,
    step,
    unfreezing,
    with_warmup,
)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (constant(0.5), {0: 0.5, 9: 0.5}),
        (exponential(1.0, 11), {0: 1.0, 5: 0.1, 10: 0.01, 50: 0.01}),
        (exponential(2.0, 5, final_share=0.25), {0: 2.0, 2: 1.0, 4: 0.5}),
        (exponential(1.0, 1), {0: 1.0}),
        (step(1.0, 9), {0: 1.0, 2: 1.0, 3: 0.1, 5: 0.1, 6: 0.01, 8: 0.01, 20: 0.01}),
        (step(1.0, 4, num_steps=2, factor=0.5), {1: 1.0, 2: 0.5, 3: 0.5}),
        (cosine(1.0, 4), {0: 1.0, 1: (1 + math.sqrt(0.5)) / 2, 2: 0.5, 4: 0.0, 9: 0.0}),
        (cosine(1.0, 2, min_learning_rate=0.2), {0: 1.0, 1: 0.6, 2: 0.2}),
        (with_warmup(constant(1.0), 3), {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0, 9: 1.0}),
        (with_warmup(cosine(1.0, 4), 1), {0: 0.5, 1: 1.0, 3: 0.5}),
        (with_warmup(constant(1.0), 0), {0: 1.0}),
    ],
)
def test_rates_at_named_epochs(schedule, expected):
    given = [schedule(epoch) for epoch in expected]
    np.testing.assert_allclose(given, list(expected.values()), atol=1e-12)


class Recorder(keras.callbacks.Callback):
    """The rate that each epoch trained with; its losses, where they are dictated."""

    def __init__(self, losses=None):
        super().__init__()
        self.losses, self.rates = losses, []

    def on_epoch_end(self, epoch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))
        if self.losses:
            logs |= {"loss": 1.0, "val_loss": self.losses[epoch]}


def rates(callbacks, epochs, losses=None):
    keras.utils.set_random_seed(0)
    model = FusedModel(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    model.compile(keras.optimizers.Adam(0.1), loss="mse")
    recorder = Recorder(losses)
    x = np.ones((4, 2))
    model.fit(x, x[:, :1], epochs=epochs, callbacks=[recorder, *callbacks], verbose=0)
    return recorder.rates


@pytest.mark.parametrize(
    ("decay", "warmup_epochs", "expected"),
    [
        ("none", 0, [0.1] * 4),
        ("none", 2, [0.1 / 3, 0.2 / 3, 0.1, 0.1]),
        ("exponential", 0, [0.1, 0.1 * 0.01 ** (1 / 3), 0.1 * 0.01 ** (2 / 3), 0.001]),
        ("step", 1, [0.05, 0.1, 0.01, 0.001]),
        ("cosine", 0, [0.1, 0.1 * (1 + math.sqrt(0.5)) / 2, 0.05, 0.1 * (1 - math.sqrt(0.5)) / 2]),
        ("cosine", 2, [0.1 / 3, 0.2 / 3, 0.1, 0.05]),
        ("plateau", 2, [0.1 / 3, 0.2 / 3, 0.1, 0.1]),
    ],
)
def test_training_follows_the_schedule(decay, warmup_epochs, expected):
    given = rates(learning_rate_callbacks(decay, 0.1, 4, warmup_epochs), 4)
    np.testing.assert_allclose(given, expected, rtol=1e-5)


def test_a_plateau_lowers_the_rate():
    # The best epoch is 2; five epochs later nothing is better: the rate falls for epoch 7 on.
    losses = [3.0, 2.0, 1.0] + [1.5] * 7
    given = rates(learning_rate_callbacks("plateau", 0.1, 10), 10, losses)
    np.testing.assert_allclose(given, [0.1] * 8 + [0.01] * 2, rtol=1e-5)


def test_a_falling_loss_is_no_plateau():
    losses = [1.0 / (epoch + 1) for epoch in range(10)]
    given = rates(learning_rate_callbacks("plateau", 0.1, 10), 10, losses)
    np.testing.assert_allclose(given, [0.1] * 10, rtol=1e-5)


def test_a_plateau_after_warm_up_counts_too():
    given = rates(learning_rate_callbacks("plateau", 0.1, 10, 2), 10, [1.0] * 10)
    np.testing.assert_allclose(given[:3], [0.1 / 3, 0.2 / 3, 0.1], rtol=1e-5)
    np.testing.assert_allclose(given[-1], 0.01, rtol=1e-5)


def test_an_unknown_decay_is_refused():
    with pytest.raises(ValueError, match="'linear', expected one of none, plateau"):
        learning_rate_callbacks("linear", 0.1, 4)


def test_without_stages_there_is_one():
    assert unfreezing(3, 10, num_frozen=1) == [(0, 10, 1)]


def test_the_head_first_then_all():
    assert unfreezing(3, 10, head_epochs=2) == [(0, 2, 3), (2, 10, 0)]


def test_gradual_unfreezing_from_the_head_down():
    assert unfreezing(3, 10, unfreeze_every=2) == [(0, 2, 3), (2, 4, 2), (4, 6, 1), (6, 10, 0)]
    assert unfreezing(3, 10, head_epochs=0, unfreeze_every=4) == [(0, 4, 2), (4, 8, 1), (8, 10, 0)]
    assert unfreezing(3, 10, unfreeze_every=3, num_frozen=2) == [(0, 3, 3), (3, 10, 2)]


def test_epochs_that_end_before_everything_is_unlocked():
    assert unfreezing(5, 3, unfreeze_every=2) == [(0, 2, 5), (2, 3, 4)]


def test_a_body_that_stays_locked():
    assert unfreezing(3, 5, num_frozen=3, head_epochs=2) == [(0, 2, 3), (2, 5, 3)]

"""k-sparse pretraining: which units stay, by hand, and when."""

import keras
import numpy as np
import pytest

from kt_transfer import FusedModel, ReconstructionLoss, sparse_autoencoder
from kt_transfer.training.k_sparse import FallingSparsity, KLargest, falling_k_sparse

X = np.random.default_rng(0).uniform(-1, 1, (64, 10)).astype(np.float32)


@pytest.fixture
def pair():
    """An autoencoder with 3 of 12 units active, and what trains it."""
    keras.utils.set_random_seed(0)
    autoencoder = sparse_autoencoder(10, (8,), 12, sparsity="k_sparse", num_active=3, noise=0.2)
    return autoencoder, falling_k_sparse(autoencoder, 3)


def test_outside_training_it_is_the_model_that_is_saved(pair):
    autoencoder, trained = pair
    np.testing.assert_allclose(trained(X), autoencoder(X), atol=1e-6)
    own = {id(variable) for variable in trained.trainable_variables}
    assert own == {id(variable) for variable in autoencoder.trainable_variables}


@pytest.mark.parametrize("count", [1, 4, 10])
def test_in_training_the_largest_units_of_each_example_stay(count):
    layer = KLargest(2)
    layer.build(X.shape)
    layer.num_active.assign(count)
    kept = np.asarray(layer(X, training=True))
    for row, values in zip(kept, X, strict=True):
        stay = np.argsort(values)[-count:]
        np.testing.assert_array_equal(row[stay], values[stay])
        assert np.count_nonzero(row) == count
    np.testing.assert_array_equal(np.count_nonzero(layer(X), axis=1), 2)


def test_it_falls_linearly_over_the_first_half_of_the_epochs(pair):
    _, trained = pair
    layer = trained.get_layer("k_largest")
    callback = FallingSparsity(layer, epochs=12)
    assert [callback.at(epoch) for epoch in (0, 2, 4, 6, 11)] == [12, 9, 6, 3, 3]
    callback.on_epoch_begin(4)
    assert int(layer.num_active.value) == 6


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_fit_ends_with_the_final_number(pair, jit_compile):
    autoencoder, trained = pair
    trained.compile("adam", loss=ReconstructionLoss())
    model = FusedModel(
        trained, transform=lambda x, y, weight: (x, x, weight), jit_compile=jit_compile
    )
    callback = FallingSparsity(trained.get_layer("k_largest"), epochs=8)
    losses = model.fit(X, epochs=8, callbacks=[callback], verbose=0).history["loss"]
    assert int(trained.get_layer("k_largest").num_active.value) == 3
    assert np.isfinite(losses).all()
    code = np.asarray(autoencoder.get_layer("encoder")(X))
    assert (np.count_nonzero(code, axis=1) <= 3).all()

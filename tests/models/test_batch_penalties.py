import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from kt_transfer.engine.strategy import choose_strategy
from kt_transfer.models.batch_penalties import replica_mean

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


def test_keras_still_has_its_mean():
    try:
        from keras.src.ops.numpy import Mean
    except ImportError:
        pytest.fail("Keras moved ops.numpy.Mean, on which models/batch_penalties.py stands")
    operation = keras.ops.mean(keras.Input((4,)), axis=0)._keras_history.operation
    assert type(operation) is Mean
    assert hasattr(keras.layers.Layer, "_clear_losses"), (
        "Keras moved Layer._clear_losses, on which models/batch_penalties.py stands"
    )


@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_every_replica_has_the_mean_of_the_whole_batch(strategy):
    strategy = choose_strategy(strategy)
    with strategy.scope():
        x = keras.Input((4,))
        model = keras.Model(x, replica_mean(x))
    shares = np.array_split(X, strategy.num_replicas_in_sync)  # 5 and 4 of 9

    def share(context):
        return keras.ops.convert_to_tensor(shares[context.replica_id_in_sync_group])

    batch = strategy.experimental_distribute_values_from_function(share)
    means = strategy.experimental_local_results(strategy.run(model, args=(batch,)))
    assert len(means) == strategy.num_replicas_in_sync
    for mean in means:
        np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-6)


LOAD = """
import sys, keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
print(model(np.arange(8.0).reshape(4, 2)).numpy().tolist())
assert "kt_transfer" not in sys.modules
"""


@pytest.mark.slow
def test_a_saved_one_loads_without_this_package(tmp_path):
    x = keras.Input((2,))
    keras.Model(x, replica_mean(x)).save(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3.0, 4.0]

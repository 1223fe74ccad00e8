import keras
import numpy as np

from kt_transfer.reporting.speed import measure_speeds


def test_more_work_takes_longer():
    def network(width, depth):
        stack = [keras.layers.Dense(width, "relu") for _ in range(depth)]
        return keras.Sequential([keras.Input((16,)), *stack])

    x = np.zeros((10, 16), np.float32)  # fewer than a batch
    found = measure_speeds({"small": network(4, 1), "large": network(2048, 4)}, x, rounds=2)
    assert list(found) == ["small", "large"]
    assert found["large"]["throughput"] < found["small"]["throughput"]
    assert 0 < found["small"]["latency_ms"] < found["large"]["latency_ms"]

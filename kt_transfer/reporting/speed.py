"""How fast a model answers on this machine."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

LARGE_BATCH = 256


def measure_speed(model: keras.Model, x: np.ndarray, seconds: float = 0.1) -> dict[str, float]:
    """Time a model as a graph: one example at once, and many.

    Args:
        model: From examples to answers.
        x: Some examples.
        seconds: How long each of the two is measured.

    Returns:
        ``latency_ms`` (milliseconds for one example, the median) and ``throughput`` (examples a
        second in batches of ``LARGE_BATCH``, from the median).
    """
    answer = tf.function(lambda batch: model(batch, training=False), autograph=False)
    rows = np.arange(LARGE_BATCH) % len(x)
    alone, many = (tf.constant(x[some]) for some in (rows[:1], rows))
    return {
        "latency_ms": 1000 * _median_seconds(answer, alone, seconds),
        "throughput": LARGE_BATCH / _median_seconds(answer, many, seconds),
    }


def _median_seconds(answer, batch: tf.Tensor, seconds: float) -> float:
    for _ in range(3):  # the first call traces, the next ones plan
        answer(batch)
    taken, end = [], time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        began = time.perf_counter()
        answer(batch).numpy()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))

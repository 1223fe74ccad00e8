"""Latency and throughput of models on this machine."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

LARGE_BATCH = 256


def measure_speeds(
    models: dict[str, keras.Model], x: np.ndarray, rounds: int = 3, seconds: float = 0.01
) -> dict[str, dict[str, float]]:
    """Time models as graphs, with one example and with a large batch.

    Models take turns in several rounds, and the fastest round counts, since other load on the
    machine only adds time.

    Args:
        models: Models by name.
        x: Some examples.
        rounds: Number of rounds.
        seconds: Duration of each measurement.

    Returns:
        By name ``latency_ms`` (milliseconds for one example) and ``throughput`` (examples per
        second in batches of ``LARGE_BATCH``).
    """
    answers = {name: _graph(model, x) for name, model in models.items()}
    rows = np.arange(LARGE_BATCH) % len(x)
    alone, many = (tf.constant(x[some]) for some in (rows[:1], rows))
    taken = {name: [] for name in models}
    for _ in range(rounds):
        for name, answer in answers.items():
            taken[name].append([_median_seconds(answer, batch, seconds) for batch in (alone, many)])
    fastest = {name: np.min(times, axis=0) for name, times in taken.items()}
    return {
        name: {"latency_ms": float(1000 * one), "throughput": float(LARGE_BATCH / of_many)}
        for name, (one, of_many) in fastest.items()
    }


def _graph(model: keras.Model, x: np.ndarray):
    """One graph for batches of any size, as on a server."""
    batches = tf.TensorSpec((None, *x.shape[1:]), x.dtype)
    return tf.function(
        lambda batch: model(batch, training=False), input_signature=[batches], autograph=False
    )


def _median_seconds(answer, batch: tf.Tensor, seconds: float) -> float:
    for _ in range(2):  # the first call traces, the second one optimizes the graph
        answer(batch)
    taken, end = [], time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        began = time.perf_counter()
        answer(batch).numpy()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))

"""Latency and throughput of models on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

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
    return measure_answers(answers, tf.constant(_some(x)), rounds, seconds)


def measure_answers(
    answers: dict[str, Callable], x, rounds: int = 3, seconds: float = 0.01
) -> dict[str, dict[str, float]]:
    """The same for functions of examples.

    Args:
        answers: Functions by name, which return when they are done.
        x: Some examples, in what the functions take.
        rounds: Number of rounds.
        seconds: Duration of each measurement.

    Example:
        >>> speeds = measure_answers({"mean": lambda x: x.mean(axis=1)}, np.ones((10, 8)))
        >>> list(speeds["mean"])
        ['latency_ms', 'throughput']
    """
    alone, many = x[:1], _some(x)
    taken = {name: [] for name in answers}
    for _ in range(rounds):
        for name, answer in answers.items():
            taken[name].append([_median_seconds(answer, batch, seconds) for batch in (alone, many)])
    fastest = {name: np.min(times, axis=0) for name, times in taken.items()}
    return {
        name: {"latency_ms": float(1000 * one), "throughput": float(LARGE_BATCH / of_many)}
        for name, (one, of_many) in fastest.items()
    }


def _some(x):
    """``LARGE_BATCH`` examples, some of them again if there are fewer."""
    if len(x) == LARGE_BATCH:
        return x
    return x[np.arange(LARGE_BATCH) % len(x)]


def _graph(model: keras.Model, x: np.ndarray):
    """One graph for batches of any size, as on a server."""
    batches = tf.TensorSpec((None, *x.shape[1:]), x.dtype)
    graph = tf.function(
        lambda batch: model(batch, training=False), input_signature=[batches], autograph=False
    )
    return lambda batch: graph(batch).numpy()


def _median_seconds(answer, batch, seconds: float) -> float:
    for _ in range(2):  # the first call traces, the second one optimizes the graph
        answer(batch)
    taken, end = [], time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        began = time.perf_counter()
        answer(batch)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))

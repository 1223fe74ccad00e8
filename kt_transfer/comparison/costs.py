"""The costs of serving a network: parameters, bytes, latency."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import keras
import tensorflow as tf

CALLS = 200


def costs(
    network: keras.Model, preprocessing: keras.Model, example, num_bytes: int | None = None
) -> dict[str, float]:
    """Parameters, size of the ``.keras`` file, and milliseconds for one raw example.

    The latency is that of a traced function on this machine with preprocessing and softmax, as in
    an export: the minimum of ``CALLS`` calls, since other load on the machine only adds time.

    Args:
        network: Model from inputs to logits.
        preprocessing: Model from raw examples to inputs.
        example: One raw example, shape ``(1, ...)``.
        num_bytes: Size of what answers, if that is no network to be saved.

    Returns:
        ``num_parameters``, ``bytes``, ``latency_ms``.
    """
    answer = tf.function(
        lambda raw: tf.nn.softmax(network(preprocessing(raw), training=False)), autograph=False
    )
    raw = tf.constant(example)
    answer(raw)
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        answer(raw).numpy()
        taken.append(time.perf_counter() - began)
    return {
        "num_parameters": network.count_params(),
        "bytes": _saved_size(network) if num_bytes is None else num_bytes,
        "latency_ms": round(1000 * min(taken), 3),
    }


def _saved_size(network: keras.Model) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain = type(network).from_config(network.get_config())
        plain.save(path)
        return path.stat().st_size

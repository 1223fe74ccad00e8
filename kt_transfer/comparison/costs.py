"""What a network costs where it is served: parameters, bytes, latency."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import keras
import tensorflow as tf

CALLS = 200


def costs(network: keras.Model, preprocessing: keras.Model, example) -> dict[str, float]:
    """Parameters, bytes as a ``.keras`` file, and milliseconds for one raw example.

    The latency is that of a traced function on this machine, with preprocessing and softmax, as
    an export answers: the shortest of ``CALLS`` calls, since what else a machine does only adds.

    Args:
        network: From inputs to logits.
        preprocessing: From raw examples to inputs.
        example: One raw example, shape ``(1, ...)``.

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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain = type(network).from_config(network.get_config())
        plain.save(path)
        size = path.stat().st_size
    return {
        "num_parameters": network.count_params(),
        "bytes": size,
        "latency_ms": round(1000 * min(taken), 3),
    }

"""The rate of float32 matrix products, in GFLOP/s: what the arithmetic alone can reach.

Of one large product, and of the largest products of a step of the reference autoencoder.
"""

import argparse
import statistics
import time

import common
import numpy as np

SIZE, TIMES = 2048, 15
# First layer forward and its kernel's gradient; last layer forward, kernel's and input's gradient.
OWN = [(64, 784, 128), (784, 64, 128), (64, 128, 784), (128, 64, 784), (64, 784, 128)]
OWN_TIMES = 300


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", choices=PRODUCTS, default="tensorflow")
    prepare = PRODUCTS[parser.parse_args().library]
    large = rate(prepare, (SIZE, SIZE, SIZE), TIMES)
    flop = [2 * m * k * n for m, k, n in OWN]
    rates = [rate(prepare, shape, OWN_TIMES) for shape in OWN]
    seconds = sum(work / found for work, found in zip(flop, rates, strict=True))
    common.finish(gflops=large, own_gflops=sum(flop) / seconds)


def rate(prepare, shape: tuple[int, int, int], times: int) -> float:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    product = prepare(rng.random((rows, inner), np.float32), rng.random((inner, columns), "f4"))
    for _ in range(3):
        product()
    return 2 * rows * inner * columns / statistics.median(timed(product, times)) / 1e9


def timed(function, times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return seconds


def tensorflow(a, b):
    import tensorflow as tf

    a, b = tf.constant(a), tf.constant(b)
    return lambda: tf.matmul(a, b).numpy()


def torch(a, b):
    import torch

    a, b = torch.from_numpy(a), torch.from_numpy(b)
    return lambda: a @ b


def jax(a, b):
    import jax

    a, b = jax.numpy.asarray(a), jax.numpy.asarray(b)
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: multiply(a, b).block_until_ready()


PRODUCTS = {"tensorflow": tensorflow, "torch": torch, "jax": jax}

if __name__ == "__main__":
    main()

"""The rate of a large float32 matrix product, in GFLOP/s: what the arithmetic alone can reach."""

import argparse
import statistics
import time

import common
import numpy as np

SIZE, TIMES = 2048, 15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", choices=PRODUCTS, default="tensorflow")
    square = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    product = PRODUCTS[parser.parse_args().library](square)
    product()
    seconds = statistics.median(timed(product) for _ in range(TIMES))
    common.finish(gflops=2 * SIZE**3 / seconds / 1e9)


def timed(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def tensorflow(square):
    import tensorflow as tf

    tensor = tf.constant(square)
    return lambda: tf.matmul(tensor, tensor).numpy()


def torch(square):
    import torch

    tensor = torch.from_numpy(square)
    return lambda: tensor @ tensor


def jax(square):
    import jax

    array = jax.numpy.asarray(square)
    multiply = jax.jit(lambda a: a @ a)
    return lambda: multiply(array).block_until_ready()


PRODUCTS = {"tensorflow": tensorflow, "torch": torch, "jax": jax}

if __name__ == "__main__":
    main()

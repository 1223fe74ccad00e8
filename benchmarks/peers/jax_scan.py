"""JAX: an epoch is one ``lax.scan``, the data resident, batches gathered by index."""

import functools

import common
import jax
import jax.numpy as jnp


def main() -> None:
    args = common.arguments()
    x, held_out = (jnp.asarray(common.scaled(a)) for a in common.raw_mnist(args.rows))
    first_key, order_key = jax.random.split(jax.random.key(common.SEED))
    params = initial(first_key)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros(())
    for number in range(args.epochs):
        state, loss = epoch(state, x, jax.random.fold_in(order_key, number))
        val_loss = float(held_out_loss(state[0], held_out))
    common.finish(loss=loss, val_loss=val_loss)


def initial(key):
    units = common.widths()
    glorot = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(key, len(units) - 1)
    shapes = zip(keys, units, units[1:], strict=False)
    return [(glorot(k, (before, after)), jnp.zeros(after)) for k, before, after in shapes]


def loss_function(params, batch):
    hidden = batch
    for kernel, bias in params[:-1]:
        hidden = jax.nn.relu(hidden @ kernel + bias)
    kernel, bias = params[-1]
    output = jnp.tanh(hidden @ kernel + bias)
    return jnp.mean(jnp.sum(jnp.square(output - batch), axis=1))


def adam(state, gradients):
    params, first, second, step = state
    step = step + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    rate = common.LEARNING_RATE * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    params = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + common.EPSILON), params, first, second
    )
    return params, first, second, step


@functools.partial(jax.jit, donate_argnums=0)
def epoch(state, x, key):
    order = jax.random.permutation(key, len(x))
    full = len(x) // common.BATCH * common.BATCH

    def step(state, rows):
        loss, gradients = jax.value_and_grad(loss_function)(state[0], x[rows])
        return adam(state, gradients), loss * len(rows)

    state, losses = jax.lax.scan(step, state, order[:full].reshape(-1, common.BATCH))
    total = losses.sum()
    if full < len(x):
        state, last = step(state, order[full:])
        total += last
    return state, total / len(x)


@jax.jit
def held_out_loss(params, x):
    size = common.VALIDATION_BATCH
    full = len(x) // size * size
    losses = jax.lax.map(
        functools.partial(loss_function, params), x[:full].reshape(-1, size, x.shape[1])
    )
    total = losses.sum() * size
    if full < len(x):
        total += loss_function(params, x[full:]) * (len(x) - full)
    return total / len(x)


if __name__ == "__main__":
    main()

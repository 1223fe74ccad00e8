"""The ``tf.distribute`` strategy under which a model is trained."""

from __future__ import annotations

import functools

import tensorflow as tf

from kt_transfer.errors import UserError


def choose_strategy(name: str = "auto", num_devices: int | None = None) -> tf.distribute.Strategy:
    """Return the strategy called ``name``; create models inside its ``scope()``.

    Args:
        name: ``"one_device"``, ``"mirrored"``, ``"multi_worker"`` (reads ``TF_CONFIG``), or
            ``"auto"``: mirrored where there are several devices, else one device.
        num_devices: Split the CPU into this many logical devices first, which is possible only
            before TensorFlow is used for anything else.

    Returns:
        The strategy, the same object at every call: a second ``MirroredStrategy`` in a process
        would break TensorFlow's collectives.

    Raises:
        UserError: If TensorFlow has already been initialized with another number of devices.
    """
    if num_devices is not None:
        _split_cpu(num_devices)
    if name == "multi_worker":
        # Before devices are listed: that initializes TensorFlow, and with it the collectives.
        return _strategy(name, ())
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if name == "auto":
        name = "mirrored" if len(devices) > 1 else "one_device"
    return _strategy(name, tuple(device.name for device in devices))


def wait_no_longer_than(seconds: float) -> None:
    """How long a ``MultiWorkerMirroredStrategy`` that is yet to be made waits for all workers.

    By default an hour, in which TensorFlow holds Python's lock, so that no thread can find out that
    a worker is lost. There is no public setting; the method that is wrapped is of its context.
    """
    from tensorflow.python.eager import context

    of_context = context.context()
    configure = of_context.configure_coordination_service

    def with_limit(*args, **kwargs):
        configure(*args, **kwargs, cluster_register_timeout_in_ms=round(1000 * seconds))
        # Else the chief, once it is registered itself, waits an hour all the same.
        of_context.coordination_service.cluster_register_with_barrier = True

    of_context.configure_coordination_service = with_limit


def wait_for_workers() -> None:
    """Return once every worker has called this: one that exits early takes the others down."""
    strategy = _strategy("multi_worker", ())
    strategy.reduce("SUM", strategy.run(lambda: tf.constant(1)), axis=None)


@functools.cache
def _strategy(name: str, devices: tuple[str, ...]) -> tf.distribute.Strategy:
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(list(devices))
    return tf.distribute.MultiWorkerMirroredStrategy()


def _split_cpu(count: int) -> None:
    wanted = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError as error:
        have = len(tf.config.list_logical_devices("CPU"))
        if have != count:
            raise UserError(
                setting="num_devices",
                given=count,
                but=f"TensorFlow already runs with {have} in this process",
                remedy="give it to the first command of a new process",
            ) from error

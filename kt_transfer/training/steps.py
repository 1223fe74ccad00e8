"""How training steps are executed: many steps in one program, the data resident.

A small network on a CPU or one GPU spends most of its time outside the arithmetic: in
Python, in per-op dispatch, in handing over batches. :class:`FusedModel` wraps any compiled
Keras model and executes its own ``train_step`` many times inside one program; a batch is
gathered by index from data that stays where the arithmetic is. ``ARCHITECTURE.md``
explains it on one page.

This is the one module that stands on private methods of Keras (``_symbolic_build``,
``_flatten_layers``, ``_initial_epoch``); ``tests/training/test_steps.py`` says plainly when
they move.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from kt_transfer.rows import quarter_of_memory
from kt_transfer.training import feeds
from kt_transfer.training.program import Program, map_arrays

logger = logging.getLogger("kt_transfer")

# XLA takes seconds to compile and saves milliseconds a step.
MIN_STEPS_FOR_XLA = 1500
# A few large batches are over before a program would be made.
MIN_BATCHES_TO_TRACE = 8


class FusedModel:
    """A compiled Keras model whose ``fit``, ``evaluate`` and ``predict`` are fused.

    It is the same model, not a copy: layers, weights, optimizer, metrics and callbacks are
    the wrapped model's, and every attribute that is not here is looked up there. It is never
    saved; ``save`` saves the wrapped model.

    Results are those of stock Keras with the same order of examples, up to rounding. The
    order in epoch e is ``epoch_order(n, seed, e)``, so a resumed fit continues exactly.

    The next epoch of a ``tf.data.Dataset`` begins to be read while this one ends, before the
    callbacks of its end are called. Input that is neither arrays nor a dataset goes to the stock
    ``fit``. Batch hooks of callbacks that are not Keras's own are called for every batch, which
    costs speed.

    Args:
        model: Any Keras model; built or functional.
        transform: Function ``(x, y, sample_weight) -> (x, y, sample_weight)`` that is run
            inside the program on every batch, in training, evaluation and prediction
            (there with ``y`` and ``sample_weight`` ``None``); scaling belongs here.
        deterministic: Whether ``transform`` makes the same of the same example every time.
            Where it augments at random, a teacher has to look at each view, and its soft
            targets are not computed once.
        augment: Function ``(x, seed) -> x`` that makes a random view of the training examples of
            a batch, before ``transform`` and inside the program: of two integers that differ from
            step to step, so that a resumed fit continues exactly. Evaluation and prediction see
            the examples as they are.
        seed: Seed of the order of examples, and of their views.
        jit_compile: Whether to compile with XLA: ``True``, ``False``, or ``"auto"`` for where
            the fit is long enough to pay for compiling (``MIN_STEPS_FOR_XLA``), there is one
            replica, and no convolution would run on a CPU.
        expected_steps: Steps of a fit, where many of about that size are to be executed alike,
            :meth:`reset` between them (default: those of the first).
        memory_budget: Bytes of examples that may be held as tensors (default: a quarter of
            the machine's memory); larger arrays are streamed in blocks.

    Example:
        >>> model = FusedModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
        >>> model.compile(optimizer="adam", loss="mse")
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=2, verbose=0)
        >>> sorted(history.history)
        ['loss']
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        transform: Callable | None = None,
        deterministic: bool = True,
        augment: Callable | None = None,
        seed: int = 0,
        jit_compile: bool | str = "auto",
        expected_steps: int | None = None,
        memory_budget: int | None = None,
    ):
        self.model = model
        self.transform = transform
        self.deterministic = deterministic
        self.augment = augment
        self.seed = seed
        self.jit_compile = jit_compile
        self.expected_steps = expected_steps
        self.memory_budget = memory_budget or quarter_of_memory()
        self.execution: str | None = None
        self._train = self._test = self._compiled_with = self._traced_predict = None
        self._num_predicted = 0
        self._fresh: list[np.ndarray] = []

    def __getattr__(self, name: str):
        if name == "model":  # not set yet: while unpickling or copying
            raise AttributeError(name)
        return getattr(self.model, name)

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The strategy under which the model was made."""
        return self.model.distribute_strategy

    def reset(self, weights: list[np.ndarray] | None = None) -> None:
        """Start anew with the compiled program kept: given weights, a fresh optimizer.

        Many fits of one shape (folds, label budgets, trials) thus compile once. Leave the random
        seed of TensorFlow alone between them: setting it (``keras.utils.set_random_seed`` does)
        makes TensorFlow prepare every program anew.

        Args:
            weights: As from ``model.get_weights()``; ``None`` keeps the present ones.
        """
        if weights is not None:
            self.model.set_weights(weights)
        for variable, value in zip(self.model.optimizer.variables, self._fresh, strict=False):
            variable.assign(value)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ) -> keras.callbacks.History:
        """Train; arguments and result are those of ``keras.Model.fit``."""
        if not feeds.can_feed(x) or steps_per_epoch or validation_steps or self.run_eagerly:
            if self.transform is not None or self.augment is not None:
                raise ValueError(
                    f"x of type {type(x).__name__}, steps_per_epoch {steps_per_epoch}, "
                    f"validation_steps {validation_steps} and run_eagerly {self.run_eagerly} were "
                    "given with a transform or augment, expected arrays or a tf.data.Dataset, "
                    "whole epochs and a graph: leave both out to train with stock Keras."
                )
            return self.model.fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                shuffle=shuffle,
                class_weight=class_weight,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
                validation_batch_size=validation_batch_size,
                validation_freq=validation_freq,
            )
        # Of a view that is new in every epoch the teacher has to be asked each time.
        targets = y if self.augment is not None else self._targets(x, y)
        data = self._pack(x, targets, sample_weight, class_weight)
        if validation_split and validation_data is None:
            data, validation_data = feeds.split_tail(data, validation_split)
        feed = self._feed(data, batch_size or 32)
        validation = None
        if validation_data is not None:
            val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            validation = self._feed(
                self._pack(val_x, self._targets(val_x, val_y), val_weight),
                validation_batch_size or batch_size or 32,
            )
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks,
                add_history=True,
                add_progbar=verbose != 0,
                verbose=1 if verbose == "auto" else verbose,
                epochs=epochs,
                steps=feed.num_steps,
                model=self.model,
            )
        # All epochs: a resumed fit is executed as the whole one.
        num_steps = (feed.num_steps or MIN_STEPS_FOR_XLA) * epochs
        self._prepare(
            feed,
            self.expected_steps or num_steps,
            validation.num_steps * epochs if validation is not None and validation.num_steps else 0,
        )
        order_seed = self.seed if shuffle else None
        every_batch = _wants_every_batch(callbacks)

        self.model.stop_training = False
        callbacks.on_train_begin()
        # BackupAndRestore says here where to go on.
        first = self.model._initial_epoch or initial_epoch
        logs = {}
        for epoch in range(first, epochs):
            self.model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            blocks = feed.blocks(order_seed, epoch, epoch + 1 < epochs)
            for end, logs in self._train.run(
                feed, blocks, every_batch, callbacks.on_train_batch_begin
            ):
                callbacks.on_train_batch_end(end, logs)
                if self.model.stop_training:
                    break
            epoch_logs = self._epoch_logs(logs)
            if validation is not None and _is_due(epoch, validation_freq):
                results = self._evaluate(validation, callbacks)
                epoch_logs |= {f"val_{name}": value for name, value in results.items()}
            callbacks.on_epoch_end(epoch, epoch_logs)
            logs = epoch_logs
            if self.model.stop_training:
                break
        callbacks.on_train_end(logs)
        return self.model.history

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
    ):
        """Measure; arguments and result are those of ``keras.Model.evaluate``."""
        if not feeds.can_feed(x) or steps or self.run_eagerly:
            return self.model.evaluate(
                x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict
            )
        feed = self._feed(self._pack(x, self._targets(x, y), sample_weight), batch_size or 32)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(callbacks, model=self.model)
        self._prepare(feed, 0)
        logs = self._evaluate(feed, callbacks)
        if return_dict:
            return logs
        values = list(logs.values())
        return values[0] if len(values) == 1 else values

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Predict; arguments and result are those of ``keras.Model.predict``."""
        if not feeds.is_arrays(x) or steps or callbacks:
            return self.model.predict(x, batch_size, verbose, steps, callbacks)
        arrays = self._pack(x)
        size = batch_size or feeds.rows_at_once(arrays)
        # Of many calls too: a teacher is asked batch by batch.
        self._num_predicted += -(-feeds.num_rows(arrays) // size)
        step = self._predict_step
        if self._num_predicted >= MIN_BATCHES_TO_TRACE:
            self._traced_predict = self._traced_predict or tf.function(
                step, reduce_retracing=True, autograph=False
            )
            step = self._traced_predict
        pieces = [
            tree.map_structure(np.asarray, step(batch)) for batch in feeds.batches_of(arrays, size)
        ]
        return tree.map_structure(lambda *parts: np.concatenate(parts), *pieces)

    def compile(self, *args, **kwargs) -> None:
        """Compile the wrapped model; arguments are those of ``keras.Model.compile``."""
        self.model.compile(*args, **kwargs)

    def _train_step(self, data):
        return self.model.train_step(self._transformed(self._augmented(data)))

    def _test_step(self, data):
        return self.model.test_step(self._transformed(data))

    def _predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(self._transformed(data))
        return self.model.predict_step((x,))

    def _transformed(self, data):
        if self.transform is None:
            return data
        transformed = self.transform(*keras.utils.unpack_x_y_sample_weight(data))
        # The transform saw the examples in their own type, the model gets Keras's.
        packed = keras.utils.pack_x_y_sample_weight(*transformed)
        return packed if self.model.compute_dtype == "float64" else map_arrays(_narrow, packed)

    def _augmented(self, data):
        """A batch, or a replica's share of one, as this step sees it."""
        if self.augment is None:
            return data
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.model.optimizer.iterations.value, tf.int32)
        number = step * self.strategy.num_replicas_in_sync + replica
        seed = tf.stack([tf.constant(self.seed, tf.int32), number])
        return keras.utils.pack_x_y_sample_weight(self.augment(x, seed), y, sample_weight)

    def _targets(self, x, y):
        """The targets, with what a teacher says of each example if the model has one."""
        if not self.deterministic or not hasattr(self.model, "complete_targets"):
            return y
        teacher = FusedModel(self.model.asked, transform=self.transform)
        return self.model.complete_targets(x, y, teacher.predict, self.memory_budget)

    def _pack(self, x, y=None, sample_weight=None, class_weight=None):
        # What begins with the scaling of raw examples sees them as they are, too.
        models = (self.model, getattr(self.model, "student", None))
        inputs = [tensor for model in models for tensor in getattr(model, "inputs", None) or ()]
        keep_types = self.transform is not None or any(t.dtype == "float64" for t in inputs)
        return feeds.pack(x, y, sample_weight, class_weight, keep_types=keep_types)

    def _feed(self, data, batch_size):
        return feeds.make_feed(data, batch_size, self.memory_budget)

    def _prepare(self, feed, num_steps: int, num_test_steps: int = 0) -> None:
        """Build variables, and programs unless those of an earlier fit still stand.

        Evaluation is compiled only where it is long by itself: it takes seconds as training does.
        """
        model = self.model
        # Compiling makes a new loss tracker, or at least names another optimizer.
        compiled_with = (model.metrics[0] if model.compiled else None, model.optimizer)
        if self._compiled_with == compiled_with:
            return
        with self.strategy.scope():
            model._symbolic_build(data_batch=self._transformed(feed.example()))
        jit = self._decide(num_steps, feed)
        self._train = Program(self.strategy, self._train_step, jit)
        long = num_test_steps >= MIN_STEPS_FOR_XLA
        self._test = Program(
            self.strategy, self._test_step, jit and (long or self.jit_compile is True)
        )
        self._compiled_with = compiled_with
        self._fresh = [variable.numpy() for variable in model.optimizer.variables]

    def _decide(self, num_steps: int, feed) -> bool:
        replicas = self.strategy.num_replicas_in_sync
        if replicas > 1:
            if self.jit_compile is True:
                raise ValueError(
                    f"jit_compile=True was given with {replicas} replicas, but TensorFlow cannot "
                    'compile across devices: give "auto" or False.'
                )
            jit = False
        elif self.jit_compile == "auto":
            jit = num_steps >= MIN_STEPS_FOR_XLA and is_faster_compiled(self.model)
        else:
            jit = bool(self.jit_compile)
        how = "XLA" if jit else "graph"
        self.execution = f"{how}, {feed.kind}, {replicas} replica{'s' * (replicas > 1)}"
        logger.info("training %s: %s (%d steps)", self.model.name, self.execution, num_steps)
        return jit

    def _epoch_logs(self, logs) -> dict[str, float]:
        """What the metrics hold, or what a ``train_step`` of the model's own returned."""
        kind = type(self.model)
        stock = (kind.train_step, kind.test_step) == (keras.Model.train_step, keras.Model.test_step)
        if logs and stock and self.strategy.num_replicas_in_sync == 1:
            # The last step has asked the metrics already: milliseconds, which short epochs feel.
            return {name: float(value) for name, value in logs.items()}
        results = self.model.get_metrics_result()
        chosen = results if set(logs or results) == set(results) else logs
        return {name: float(value) for name, value in chosen.items()}

    def _evaluate(self, feed, callbacks) -> dict[str, float]:
        self.model.reset_metrics()
        callbacks.on_test_begin()
        logs = {}
        blocks = feed.blocks(None, 0)
        for end, logs in self._test.run(feed, blocks, False, callbacks.on_test_batch_begin):
            callbacks.on_test_batch_end(end, logs)
        logs = self._epoch_logs(logs)
        callbacks.on_test_end(logs)
        return logs


def _narrow(leaf: tf.Tensor) -> tf.Tensor:
    """``float64`` in the type of Keras's floats."""
    return tf.cast(leaf, keras.config.floatx()) if leaf.dtype == tf.float64 else leaf


def scaling(preprocessing: keras.Model) -> Callable:
    """A Keras model from raw examples to inputs, as the transform of a :class:`FusedModel`."""
    return lambda x, y, sample_weight: (preprocessing(x), y, sample_weight)


def predict_raw(model: keras.Model, preprocessing: keras.Model, x) -> np.ndarray:
    """What a model says of raw examples, ``(n, ...)`` to ``(n, outputs)``."""
    return FusedModel(model, transform=scaling(preprocessing)).predict(x)


def is_faster_compiled(model: keras.Model) -> bool:
    """Whether every layer of the model compiles, and none is the slower for it."""
    layers = list(model._flatten_layers())
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    # XLA's convolutions are slow on a CPU: a step of the convolutional autoencoder on MNIST took
    # 6 to 9 times as long as in a graph, on two cores.
    is_convolutional = any(hasattr(layer, "kernel_size") for layer in layers)
    return not is_convolutional or bool(tf.config.list_logical_devices("GPU"))


def _is_due(epoch: int, frequency) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def _wants_every_batch(callbacks: keras.callbacks.CallbackList) -> bool:
    """Whether a callback that is not Keras's own looks at single batches."""
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")

    def overrides(callback) -> bool:
        if isinstance(callback, keras.callbacks.LambdaCallback):
            return any(hook in vars(callback) for hook in hooks)
        if type(callback).__module__.startswith("keras."):
            return False
        stock = keras.callbacks.Callback
        return any(getattr(type(callback), hook) is not getattr(stock, hook) for hook in hooks)

    return any(overrides(callback) for callback in callbacks.callbacks)

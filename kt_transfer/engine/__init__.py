"""Train, evaluate and predict with any Keras model, many steps per program.

A small network on a CPU or a single GPU spends most of its time outside the arithmetic: in
Python, in dispatching ops one by one, in copying batches. :class:`~kt_transfer.FusedModel` wraps a
compiled Keras model and runs the model's own ``train_step`` many times inside one TensorFlow
program, on data that stays on the device. It knows nothing of transfer learning: any Keras model
will do.

>>> import keras
>>> import numpy as np
>>> from kt_transfer import FusedModel
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
>>> model.compile(optimizer="adam", loss="mse")
>>> x, y = np.ones((100, 4), np.uint8), np.ones((100, 1))
>>> fused = FusedModel(model, transform=lambda x, y, w: (x / 255, y, w))
>>> history = fused.fit(x, y, epochs=3, validation_split=0.2, verbose=0)
>>> sorted(history.history)
['loss', 'val_loss']
>>> fused.predict(x, verbose=0).shape
(100, 1)
>>> fused.execution  # how it was run; logged, too
'graph, data resident, 1 replica'

``fit``, ``evaluate`` and ``predict`` take the arguments of :class:`keras.Model`, call the same
callbacks and give the same results. Whatever cannot be fused (generators, sparse input,
``steps_per_epoch``, eager execution) is left to Keras's own methods, with one warning that says
why.

A model that learns from another model's predictions can have them computed once per fit, not in
every step. It then has the attribute ``target_model``, the model that predicts, and the method
``complete_targets(x, y, predict, memory_budget)``, which returns the targets with the predictions
included. Its method ``as_targets(y)``, if there is one, returns them without: that is used when
predictions cannot be reused because examples are augmented at random. If such a model trains
another one, its attribute ``student``, that model's input dtypes are respected.

=====================  =============================================================
``fused_model.py``     ``FusedModel``: decides how to run, and calls the callbacks
``model_proxy.py``     lets it be used wherever the wrapped model could be
``program.py``         many steps as one program
``feeds.py``           batches of arrays: in memory, or streamed in blocks
``dataset_feed.py``    batches of a ``tf.data.Dataset``
``fallback.py``        when Keras's own methods are used, and with which steps
``batch_hooks.py``     which callbacks need to be called at every batch
``results.py``         logs and predictions in the form in which Keras returns them
``randomness.py``      the same random numbers with XLA as without
``strategy.py``        the ``tf.distribute`` strategy
``replicas.py``        several replicas, and workers, equal one device
``places.py``          which of several workers this process is
``cluster.py``         how workers meet, and miss one that is lost
``launch.py``          starts several workers on this machine
``local.py``           how processes of this machine are started and ended
=====================  =============================================================
"""

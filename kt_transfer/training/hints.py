"""Feature hints: intermediate layers of a teacher whose outputs a student should match."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
from keras import ops


def find_layer(model: keras.Model, name: str) -> keras.layers.Layer:
    """The first layer of that name, including the layers of nested models.

    Raises:
        ValueError: If there is none, or the model is subclassed.

    Example:
        >>> from kt_transfer.models.classifiers import classifier, dense_encoder
        >>> model = classifier(dense_encoder(64, [32, 16]), num_classes=10)
        >>> find_layer(model, "hidden_1").units
        32
    """
    _require_graph(model)
    known = dict(reversed([(layer.name, layer) for layer in layers_of(model)]))
    if name not in known:
        names = ", ".join(layer.name for layer in layers_of(model))
        raise ValueError(f"layer {name} was given, expected one of {model.name}'s ({names})")
    return known[name]


def last_hidden(model: keras.Model) -> keras.layers.Layer:
    """The layer (or nested model) that feeds the last layer with weights.

    Raises:
        ValueError: If there is none.
    """
    _require_graph(model)
    made_by, taken_by = {}, {}

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        made_by[id(output)], taken_by[id(output)] = layer, args[0]
        return output

    tensor = _called(model, call).output
    while (layer := made_by.get(id(tensor))) is not None:
        before = taken_by[id(tensor)]
        if isinstance(layer, keras.Model) and len([x for x in layers_of(layer) if x.weights]) > 1:
            return last_hidden(layer)
        if getattr(layer, "weights", ()) and id(before) in made_by:
            return made_by[id(before)]
        tensor = before
    raise ValueError(f"{model.name} has no hidden layer: name one of another student")


def with_layer_output(model: keras.Model, wanted: keras.layers.Layer) -> keras.Model:
    """Extend a model to return the output of one of its layers as well.

    Layers are shared, not copied. Feature maps are averaged over their positions.

    Args:
        model: A functional or sequential model with one output.
        wanted: One of its layers, or of a nested model's.

    Returns:
        A functional model from the same input to ``[output, features]``, with features of shape
        ``(batch, width)``.

    Example:
        >>> from kt_transfer.models.classifiers import classifier, dense_encoder
        >>> model = classifier(dense_encoder(64, [32, 16]), num_classes=10)
        >>> with_layer_output(model, find_layer(model, "hidden_1")).output_shape
        [(None, 10), (None, 32)]
    """
    found = []

    def call(layer, *args, **kwargs):
        if layer is not wanted and wanted in layers_of(layer):
            output, features = with_layer_output(layer, wanted)(*args, **kwargs)
            found.append(features)
            return output
        output = layer(*args, **kwargs)
        if layer is wanted:
            found.append(output)
        return output

    whole = _called(model, call)
    return keras.Model(whole.input, [whole.output, _averaged(found[0])], name=model.name)


def _require_graph(model) -> None:
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"{model.name} ({type(model).__name__}) does not say how its layers follow one "
            "another, expected a functional or sequential model"
        )


def layers_of(model) -> Iterator[keras.layers.Layer]:
    """Every layer; a nested model is followed by its own layers."""
    for layer in getattr(model, "layers", ()):
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)


def _called(model: keras.Model, call: Callable) -> keras.Model:
    """A functional model over the same layers, each called through ``call``."""
    # Not model.output: for a Sequential that has been called, this is the output of that call.
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    graph = keras.Model(inputs, model.outputs[0])
    return keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)


def _averaged(features):
    positions = tuple(range(1, len(features.shape) - 1))
    return ops.mean(features, axis=positions) if positions else features

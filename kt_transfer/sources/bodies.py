"""The body of any Keras model, which is transferred, and its features."""

from __future__ import annotations

import keras
from keras import layers

from kt_transfer.errors import UserError
from kt_transfer.models.autoencoders import transferable_encoder

_POOLING = {
    3: layers.GlobalAveragePooling1D,
    4: layers.GlobalAveragePooling2D,
    5: layers.GlobalAveragePooling3D,
}


def body(model: keras.Model, input_shape: tuple[int, ...] | None = None) -> keras.Model:
    """The part of a model to transfer: everything but its head.

    This is its layer ``"encoder"`` if that is a model; otherwise everything up to the input of a
    final Dense layer, which only weightless layers may follow; otherwise the whole model. Feature
    maps are averaged over their positions.

    Nested models are flattened, so that the first N layers are those one expects. Layers are
    copied; the model's compilation and call history are not.

    Args:
        model: A functional or sequential model of stock layers, with one input and one output.
        input_shape: Shape of one example, for a model of variable input size (default: its own).

    Returns:
        A functional model named ``"encoder"``, ``(batch, *input_shape)`` to
        ``(batch, width)``, with the model's weights.

    Raises:
        ValueError: If the model is of another kind; the message completes a sentence that begins
            with "it".

    Example:
        >>> base = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model = keras.Sequential([keras.Input((8,)), base, keras.layers.Dense(10)])
        >>> body(model).output_shape
        (None, 4)
    """
    single_input(model)
    has_encoder = any(
        layer.name == "encoder" and isinstance(layer, keras.Model) for layer in model.layers
    )
    whole = transferable_encoder(model) if has_encoder else model
    taken = ("features", "pooled_features", whole.inputs[0].name)
    _name_apart(whole, dict.fromkeys(taken))
    copy = _copied(_in_line(whole), input_shape)
    output = copy.output if has_encoder else _before_head(copy)
    encoder = keras.Model(copy.input, _pooled(output, "pooled_features"), name="encoder")
    if not encoder.weights:
        raise ValueError("has no layers with weights before its last Dense layer")
    return encoder


def single_input(model: keras.Model):
    """The symbolic input of a model that :func:`body` supports.

    Raises:
        ValueError: As :func:`body`.
    """
    kind = f"{model.name} ({type(model).__name__})"
    if _is_custom(model) or not getattr(model, "inputs", None):
        raise ValueError(
            f"is, or contains, a subclassed or unbuilt model, {kind}, which does not say how its "
            "layers follow one another"
        )
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise ValueError(f"has {len(tensors)} {what}s, expected one, in {kind}")
    for operation in _graph(model).operations:
        if isinstance(operation, keras.Model):
            single_input(operation)
        elif _is_custom(operation):
            raise ValueError(
                f"has a layer that Keras does not know, {operation.name} "
                f"({type(operation).__name__}), without which it would not load elsewhere"
            )
    return model.inputs[0]


def head_of(model: keras.Model) -> layers.Dense | None:
    """A copy of the final Dense layer, which :func:`body` omits.

    Args:
        model: A model that :func:`body` supports.

    Returns:
        The layer; ``None`` if there is none.
    """
    return _head(_copied(_in_line(model), None))


def features_from(encoder: keras.Model, which: str) -> keras.Model:
    """Select the features of an encoder.

    Args:
        encoder: A functional model.
        which: ``"bottleneck"`` for its output, the name of a layer for that layer's output,
            or ``"all"`` for the concatenated outputs of all layers with weights.
            Feature maps are averaged over their positions.

    Returns:
        A functional model named ``"encoder"`` over the same layers, to ``(batch, width)``.

    Raises:
        UserError: If there is no layer of that name.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder
        >>> encoder = dense_autoencoder(784).get_layer("encoder")
        >>> features_from(encoder, "hidden_1").output_shape
        (None, 128)
        >>> features_from(encoder, "all").output_shape
        (None, 248)
    """
    if which == "bottleneck":
        return encoder
    inner = [layer for layer in encoder.layers if not isinstance(layer, layers.InputLayer)]
    chosen = [layer for layer in inner if layer.name == which or (which == "all" and layer.weights)]
    if not chosen:
        raise UserError(
            setting="features_from",
            given=which,
            expected="bottleneck, all or a layer of the source "
            f"({', '.join(layer.name for layer in inner)})",
            remedy="name one of these",
        )
    parts = [_pooled(layer.output, f"{layer.name}_features") for layer in chosen]
    output = parts[0] if len(parts) == 1 else layers.Concatenate(name="all_features")(parts)
    return keras.Model(encoder.input, output, name="encoder")


def _is_custom(thing) -> bool:
    return type(thing).__module__.split(".")[0] != "keras"


def _graph(model: keras.Model) -> keras.Model:
    """A functional or sequential model as a functional one over the same layers."""
    return keras.Model(model.inputs[0], model.outputs[0])


def _name_apart(model: keras.Model, taken: dict) -> None:
    """Make layer names unique across nested models."""
    for operation in _graph(model).operations:
        if isinstance(operation, keras.Model):
            _name_apart(operation, taken)
        elif not isinstance(operation, layers.InputLayer):
            stem, number = operation.name, 1
            while taken.get(operation.name, operation) is not operation:
                number += 1
                operation.name = f"{stem}_{number}"
            taken[operation.name] = operation


def _in_line(model: keras.Model) -> keras.Model:
    """Flatten nested models into one functional model over the same layers."""

    def call(layer, *args, **kwargs):
        if not isinstance(layer, keras.Model):
            return layer(*args, **kwargs)
        inner = _in_line(layer)
        return keras.Function(inner.inputs, inner.outputs).call([args[0]])[0]

    return keras.models.clone_model(
        _graph(model), clone_function=lambda layer: layer, call_function=call
    )


def _copied(model: keras.Model, input_shape: tuple[int, ...] | None) -> keras.Model:
    """Copy layers and weights; each copy is called once, as ``layer.output`` requires."""
    shape = model.input_shape[1:] if input_shape is None else input_shape
    copy = keras.models.clone_model(model, input_tensors=keras.Input(shape, name="features"))
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
        if layer.weights and isinstance(layer, layers.Normalization):
            layer.finalize_state()  # it computes with constants derived from its weights
    return copy


def _before_head(model: keras.Model):
    """The input of the final Dense layer, or the output of a model without one."""
    head = _head(model)
    return model.output if head is None else head.input


def _head(model: keras.Model) -> layers.Dense | None:
    made_by = {id(operation.output): operation for operation in model.operations}
    tensor = model.output
    while (operation := made_by.get(id(tensor))) is not None:
        if isinstance(operation, layers.Dense):
            return operation
        if isinstance(operation, layers.InputLayer) or getattr(operation, "weights", ()):
            break
        tensor = operation.input  # a list where paths merge, which is no key
    return None


def _pooled(x, name: str):
    pooling = _POOLING.get(len(x.shape))
    return pooling(name=name)(x) if pooling else x

"""What is served: functions of raw examples, and whether a served model answers as they do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

TOLERANCE = 1e-5


def served_functions(
    *,
    preprocessing,
    classifier=None,
    class_names=(),
    autoencoder=None,
    autoencoder_preprocessing=None,
    unusual_above: float | None = None,
) -> tuple[tf.Module, dict[str, Callable], tf.TensorSpec]:
    """The functions that are served, whatever the format, all from raw examples.

    ``serving_default`` (``probabilities``, ``class_id``, ``label``), ``encode`` (``features``) and,
    with an autoencoder, ``reconstruct`` (``reconstruction`` as the autoencoder outputs it, scaled
    to [-1, 1], flat or images, and ``reconstruction_error``, ‖x − x̂‖² of each example). Without a
    classifier ``serving_default`` combines ``encode`` and ``reconstruct``. Where it is known which
    errors are usual, ``reconstruct`` says of each example whether it is ``unusual``. The answers of
    a classifier do not: its autoencoder may be a hundred times as large as a student, and TF
    Serving would run it for every request.

    Args:
        preprocessing: Keras model from raw examples to the network's input.
        classifier: Keras model from this input to logits, with a layer ``"encoder"``.
        class_names: Names of its classes.
        autoencoder: Keras model with the layers ``"encoder"`` and ``"decoder"``.
        autoencoder_preprocessing: Keras model from raw examples to its input (default:
            ``preprocessing``).
        unusual_above: The largest ``reconstruction_error`` that is not unusual; ``None`` where it
            is not known.

    Returns:
        A module that holds their variables, the functions by name, and what they take.

    Example:
        >>> from kt_transfer.models.autoencoders import dense_autoencoder
        >>> from kt_transfer.models.preprocessing import preprocessing_model
        >>> scale = preprocessing_model((8, 8), (0.0, 16.0))
        >>> models = {"preprocessing": scale, "autoencoder": dense_autoencoder(64)}
        >>> module, functions, raw = served_functions(**models)
        >>> functions["encode"](np.zeros((3, 8, 8), "uint8"))["features"].shape
        TensorShape([3, 8])
    """
    module = tf.Module()
    autoencoder_preprocessing = autoencoder_preprocessing or preprocessing
    encoder = (classifier or autoencoder).get_layer("encoder")
    raw = preprocessing.inputs[0]
    name = "image" if len(raw.shape) > 2 else "features"
    spec = tf.TensorSpec([None, *raw.shape[1:]], raw.dtype, name=name)

    def classify(raw_input):
        x = preprocessing(raw_input, training=False)
        probabilities = tf.nn.softmax(classifier(x, training=False))
        class_id = tf.argmax(probabilities, axis=-1)
        # A constant of the function, not captured by it, which converters take for an input.
        label = tf.gather(tf.constant(list(class_names)), class_id)
        return {"probabilities": probabilities, "class_id": class_id, "label": label}

    def encode(raw_input):
        return {"features": encoder(preprocessing(raw_input, training=False), training=False)}

    def reconstruct(raw_input):
        x = autoencoder_preprocessing(raw_input, training=False)
        code = autoencoder.get_layer("encoder")(x, training=False)
        output = autoencoder.get_layer("decoder")(code, training=False)
        error = tf.reduce_sum(tf.square(x - output), axis=list(range(1, len(x.shape))))
        answers = {"reconstruction": output, "reconstruction_error": error}
        if unusual_above is not None:
            answers["unusual"] = error > unusual_above
        return answers

    def encode_and_reconstruct(raw_input):
        return {**encode(raw_input), **reconstruct(raw_input)}

    functions = {"encode": encode}
    if autoencoder is not None:
        functions["reconstruct"] = reconstruct
    if classifier is not None:
        functions["serving_default"] = classify
    else:
        functions["serving_default"] = encode_and_reconstruct
    # Track the variables alone: a tracked Keras model would be saved with its call functions.
    models = [model for model in (classifier, autoencoder) if model is not None]
    module.weights = [weight.value for model in models for weight in model.weights]
    return module, functions, spec


def require_same_answers(
    served: str,
    functions: dict[str, Callable],
    examples: np.ndarray,
    answers: dict,
    tolerance: float = TOLERANCE,
) -> float:
    """Compare the answers of a served model with those of the functions it was written from.

    Args:
        served: What it is, for the message.
        functions: These functions, by name.
        examples: Raw examples, of which the model was asked all together, and the first one alone.
        answers: ``"FUNCTION/OUTPUT/all"`` and ``"FUNCTION/OUTPUT/one"``, an array each.
        tolerance: The largest difference that is none.

    Returns:
        The largest absolute difference, relative for values above 1.

    Raises:
        RuntimeError: If it exceeds the tolerance.
    """
    differences = []
    for name, function in functions.items():
        for output, expected in function(tf.constant(examples)).items():
            for size in ("one", "all"):
                given = answers[f"{name}/{output}/{size}"]
                differences.append(_difference(given, expected.numpy()[: len(given)]))
    largest = float(np.max(differences))  # which, unlike Python's, is NaN if one of them is
    if not largest <= tolerance:
        raise RuntimeError(f"the {served} differs from Keras by {largest}, expected {tolerance}")
    return largest


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    if expected.dtype == object:
        same = given.tolist() == [label.decode() for label in expected.tolist()]
        return 0.0 if same else float("inf")
    if expected.dtype == bool:
        return 0.0 if np.array_equal(given, expected) else float("inf")
    # Relative for large values, since a summed error has no fixed scale.
    scale = np.maximum(np.abs(expected), 1.0)
    return float(np.max(np.abs(given - expected) / scale, initial=0.0))

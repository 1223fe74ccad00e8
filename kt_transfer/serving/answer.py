"""``python -m kt_transfer.serving.answer MODEL INPUTS.npz ANSWERS.npz``.

Calls every signature of a SavedModel as a server would, in a process in which Keras cannot be
imported: with all examples at once, and with the first one alone.
"""

import os
import sys

import numpy as np


def main() -> None:
    """Load the model, call its signatures, write the outputs."""
    path, inputs, answers = sys.argv[1:]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.modules["keras"] = None
    import tensorflow as tf

    model = tf.saved_model.load(path)
    with np.load(inputs) as file:
        examples = dict(file)
    written = {}
    for name, signature in model.signatures.items():
        for size, rows in (("one", slice(1)), ("all", slice(None))):
            taken = signature.structured_input_signature[1]
            some = {name: tf.constant(examples[name][rows]) for name in taken}
            for output, value in signature(**some).items():
                array = value.numpy()
                if array.dtype == object:
                    array = np.array([label.decode() for label in array.tolist()])
                written[f"{name}/{output}/{size}"] = array
    np.savez(answers, **written)


if __name__ == "__main__":
    main()

"""Transfer learning that is practical and honest.

Pre-train on what has no labels, transfer to what has few, distil into what is small,
export what is served. Each command is a module with a function run(), as in
``compare.run(data="digits")``; help(compare.run) lists its settings.

Commands

    inspect             looks at data before training: what they hold, and what would mislead
    pretrain            trains an autoencoder on a source task, without labels
    finetune            transfers a source model to a target task with few labels
    distill             trains a small student from the soft targets of a teacher
    compare             cross-validates the ways of transferring, and exports the winner
    tune                searches the settings of pretrain, finetune, distill or compare
    evaluate            measures a run on a data set
    predict             writes predictions to a file
    label               chooses which unlabelled examples to label next
    export              writes a run as a versioned model to be served
    demo                serves a page to try such a model on
    quickstart          the whole chain as one command

For scikit-learn

    TransferClassifier  the ways of transferring as a classifier

Data

    load_data           reads a data spec, such as "digits" or "images:DIR"
    Dataset             what it reads: raw examples and labels, split into training and test

Keras models

    dense_autoencoder   an autoencoder of dense layers
    sparse_autoencoder  one whose code is sparse
    conv_autoencoder    one of convolutions, for images
    classifier          an encoder with a new head
    freeze_layers       locks the first layers of a network

Training

    FusedModel          trains any Keras model, many steps as one program
    Distiller           a student that learns from a teacher
    ReconstructionLoss  the loss of an autoencoder
    SettingSchedule     changes a loss's setting, epoch by epoch
    FoldedTuner         searches the hyperparameters of any Keras model, cross-validated
    UserError           a mistake that its message says how to correct

The names load when they are first used, so that importing the package costs nothing.
"""

import importlib

__version__ = "0.1.0.dev0"

_HOMES = {
    # data
    "load_data": "data",
    "Dataset": "data",
    # models
    "dense_autoencoder": "models.autoencoders",
    "sparse_autoencoder": "models.autoencoders",
    "conv_autoencoder": "models.convolutional",
    "classifier": "models.classifiers",
    "freeze_layers": "models.freezing",
    # training
    "ReconstructionLoss": "training.losses",
    "Distiller": "training.distiller",
    "SettingSchedule": "training.schedules",
    "FusedModel": "engine.fused_model",
    # selection
    "FoldedTuner": "tuning.folded",
    "TransferClassifier": "comparison.estimator",
    # errors
    "UserError": "errors",
}
_COMMANDS = (
    "pretrain",
    "finetune",
    "distill",
    "compare",
    "tune",
    "evaluate",
    "predict",
    "label",
    "inspect",
    "export",
    "demo",
    "quickstart",
)

__all__ = ["__version__", *_HOMES, *_COMMANDS]


def __getattr__(name: str):
    if name in _COMMANDS:
        return importlib.import_module(f"kt_transfer.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"kt_transfer.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kt_transfer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""Transfer learning that is practical and honest.

Pre-train on what has no labels, transfer to what has few, distil into what is small,
export what is served. The names below load when they are first used, so that importing
the package, and asking a command for help, costs nothing.
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

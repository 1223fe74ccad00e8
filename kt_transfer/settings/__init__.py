"""Every setting of every command: a module and a frozen dataclass for each.

The fields are the flags, their docstrings the help texts, their types the bounds. Nothing heavy is
imported here, so that ``--help`` answers at once.
"""

from kt_transfer.settings.common import Common, Training, narrow
from kt_transfer.settings.compare import CompareConfig, Method, Metric
from kt_transfer.settings.demo import DemoConfig
from kt_transfer.settings.distill import DistillConfig
from kt_transfer.settings.evaluate import EvaluateConfig
from kt_transfer.settings.export import ExportConfig
from kt_transfer.settings.finetune import FinetuneConfig
from kt_transfer.settings.inspect import InspectConfig
from kt_transfer.settings.json import from_settings, to_settings
from kt_transfer.settings.label import LabelConfig
from kt_transfer.settings.predict import PredictConfig
from kt_transfer.settings.pretrain import (
    CONV_LATENT_DIM,
    LABEL_WEIGHT,
    REFERENCE_LATENT_DIM,
    REFERENCE_UNITS,
    PretrainConfig,
    Sparsity,
)
from kt_transfer.settings.quickstart import QuickstartConfig
from kt_transfer.settings.tune import (
    TuneCompareConfig,
    TuneDistillConfig,
    TuneFinetuneConfig,
    TunePretrainConfig,
)

__all__ = [
    "CONV_LATENT_DIM",
    "Common",
    "CompareConfig",
    "DemoConfig",
    "DistillConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FinetuneConfig",
    "InspectConfig",
    "LabelConfig",
    "LABEL_WEIGHT",
    "Method",
    "Metric",
    "PredictConfig",
    "PretrainConfig",
    "QuickstartConfig",
    "REFERENCE_LATENT_DIM",
    "REFERENCE_UNITS",
    "Sparsity",
    "Training",
    "TuneCompareConfig",
    "TuneDistillConfig",
    "TuneFinetuneConfig",
    "TunePretrainConfig",
    "from_settings",
    "narrow",
    "to_settings",
]

"""The settings of ``quickstart``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kt_transfer.errors import UserError, named
from kt_transfer.methods.bounds import AtLeastOne, FolderName, Positive
from kt_transfer.settings.common import Training


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig(Training):
    """The whole chain as one command: pretrain, finetune, distill, evaluate, export."""

    data: str = "digits"
    """Data for every step, such as digits, tfds:NAME[:VERSION], idx:DIR, images:DIR or npz:FILE."""

    epochs: AtLeastOne = 100
    """Passes over the examples in each step."""

    batch_size: AtLeastOne = 32
    """Examples per step, over all devices together."""

    learning_rate: Positive | None = None
    """Initial learning rate of Adam in every step (default: each command's own)."""

    labels: AtLeastOne | None = 200
    """Labelled examples that fine-tuning and distillation may use (by default 200, or all where
    there are fewer)."""

    name: FolderName = "quickstart"
    """Name of the served model."""

    export_dir: Path = Path("saved_models")
    """Folder that holds the served models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy == "multi_worker":
            raise UserError(
                setting="strategy",
                given="multi_worker",
                when="to quickstart",
                expected="one machine",
                remedy="run pretrain, finetune and distill on the workers, each with its "
                f"{named('out')}",
            )

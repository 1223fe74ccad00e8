"""The settings of ``pretrain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from kt_transfer.errors import named
from kt_transfer.methods.bounds import AtLeastOne, Bound, Units, Weight, require
from kt_transfer.methods.pretraining import MASKED_SHARE, WIDE_LATENT_DIM, WIDE_UNITS
from kt_transfer.models.penalties import SPARSITIES
from kt_transfer.settings.common import Training

Sparsity = Literal[SPARSITIES]
LABEL_WEIGHT = 100.0

REFERENCE_UNITS, REFERENCE_LATENT_DIM = (128, 64, 32, 16), 8
CONV_LATENT_DIM = 256


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Training):
    """Train an autoencoder (or, with labels, a classifier) on a source task."""

    data: str = "digits"
    """Source data, such as digits, tfds:NAME[:VERSION], idx:DIR, images:DIR or npz:FILE."""

    objective: Literal["reconstruction", "classification"] = "reconstruction"
    """Reconstruct the examples, without labels; or learn the labels of the source data, so that
    a classifier's body can be transferred."""

    model: Literal["dense", "sparse", "conv"] = "dense"
    """Dense autoencoder, one with a sparsity penalty on its code, or a convolutional one for
    images of any size and channels."""

    hidden_units: Units | None = None
    """Widths of the encoder's hidden layers; the decoder mirrors them (--model dense or sparse).
    Where neither this nor --latent-dim is given, a dense autoencoder is wide (500, --latent-dim
    500, --noise 0.7); otherwise 128 64 32 16."""

    filters: Annotated[Units, Bound(len, "at least one number")] = (16, 32)
    """Filters of the encoder's convolutions, each of which halves height and width; the decoder
    mirrors them (--model conv)."""

    latent_dim: AtLeastOne | None = None
    """Width of the code (default: 500, with --hidden-units or --model sparse 8, with --model
    conv 256)."""

    sparsity: Sparsity = "squared_l1"
    """Penalty on the code (--model sparse)."""

    sparsity_weight: Weight | None = None
    """Weight of the penalty, next to a squared error summed over the features
    (default: the penalty's own, such as 1e-3 for squared_l1, 1e-2 for l1, 1 for kl)."""

    sparsity_target: Annotated[
        float, Bound(lambda mean: 0 < mean < 1, "a mean activity between 0 and 1")
    ] = 0.05
    """Mean activity of a code unit (--sparsity kl)."""

    num_active: int | None = None
    """Code units that stay, the largest (--sparsity k_sparse; default: a quarter)."""

    noise: float | None = None
    """Denoising: share of the inputs dropped during training, or the standard deviation of the
    noise added to them (default: 0.7 with the wide layers and with --model conv, 0 otherwise)."""

    noise_kind: Literal["masking", "gaussian", "resample"] = "masking"
    """Kind of that noise: inputs are dropped, have noise added, or (rows of a table) are replaced
    by values of the same column in other rows."""

    labels: AtLeastOne | None = None
    """Semi-supervised: this many labelled examples add a classification loss to the
    reconstruction (with --objective classification: use no more than these)."""

    label_weight: Weight = LABEL_WEIGHT
    """Weight of that classification loss, next to a squared error summed over the features."""

    patience: AtLeastOne | None = None
    """Stop after this many epochs without a better validation loss, and keep the best."""

    def __post_init__(self) -> None:
        for name, value in self._defaults().items():  # resolved at once, as config.json has it
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        require(
            0 <= self.noise < 1 or (self.noise == 1 and self.noise_kind == "gaussian"),
            "noise",
            self.noise,
            "a share from 0 to below 1 (masking, resample), or a deviation from 0 to 1 (gaussian)",
        )
        require(
            self.num_active is None or 1 <= self.num_active <= self.latent_dim,
            "num_active",
            self.num_active,
            f"1 to the {self.latent_dim} units of {named('latent_dim')}",
        )

    def _defaults(self) -> dict:
        """Shape and noise where none is given."""
        if self.model == "conv":
            shape, noise = (REFERENCE_UNITS, CONV_LATENT_DIM), MASKED_SHARE
        elif self.model == "dense" and self.hidden_units is None and self.latent_dim is None:
            shape, noise = (WIDE_UNITS, WIDE_LATENT_DIM), MASKED_SHARE
        else:
            shape, noise = (REFERENCE_UNITS, REFERENCE_LATENT_DIM), 0.0
        return {"hidden_units": shape[0], "latent_dim": shape[1], "noise": noise}

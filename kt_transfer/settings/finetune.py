"""The settings of ``finetune``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kt_transfer.errors import UserError, named
from kt_transfer.methods import BY_NAME, METHODS, Features, Parameters, Scratch
from kt_transfer.methods.bounds import (
    AtLeastOne,
    LayerDecay,
    NotNegative,
    Positive,
    Share,
    Units,
    ValueRange,
    require_fewer_epochs,
)
from kt_transfer.methods.parameters import TRANSFERRED_LEARNING_RATE
from kt_transfer.methods.pretraining import WIDE_LATENT_DIM, WIDE_UNITS
from kt_transfer.methods.steps import LearningRateDecay, Steps
from kt_transfer.methods.views import augmentation_of
from kt_transfer.settings.common import Training, with_settings_of

# Methods whose settings are flags here from their dataclasses alone; a student is distill's.
FURTHER_METHODS = tuple(
    method
    for method in METHODS
    if method.teacher is None and method not in (Scratch, Parameters, Features)
)
Method = Literal["parameters", "features", *(method.name for method in FURTHER_METHODS)]

# By default this share of the labelled examples is held out, of so many or more.
HELD_OUT_SHARE, LEAST_TO_HOLD_OUT = 0.1, 200


@dataclass(frozen=True, kw_only=True)
@with_settings_of(*FURTHER_METHODS)
class FinetuneConfig(Training):
    """Transfer a source model to a target task with labels."""

    source: str
    """What to transfer from: a run folder, FILE.keras, keras_applications:NAME (weights from
    ImageNet, fetched by Keras), or scratch for no transfer."""

    source_range: ValueRange | None = None
    """What the smallest and the largest raw value become for a FILE.keras (default: -1 1, or raw
    values as they are where the model scales by itself)."""

    data: str | None = None
    """Target data (default: the source run's data; digits for any other source)."""

    epochs: AtLeastOne | None = None
    """Passes over the training examples (default: the method's own; 100 for parameters)."""

    batch_size: AtLeastOne | None = None
    """Examples per step, over all devices together (default: the method's own; 32 for
    parameters)."""

    learning_rate: Positive | None = None
    """Initial learning rate of Adam (default: 1e-3; 1e-4 where all starts from what was learned,
    the head from logistic regression)."""

    method: Method = "parameters"
    """Transfer the parameters and train on, or the features of the frozen encoder; or what needs no
    source: linear, logistic regression on the inputs; propagated, consistency and vat, which learn
    from the unlabelled examples as well."""

    features_from: str = Features.features_from
    """Features to take (--method features): bottleneck for the encoder's output, the name of one
    of its layers, or all for those of every layer with weights."""

    head: Literal["dense", "logistic_regression"] | None = None
    """New classifier (default: dense for parameters, logistic_regression for features)."""

    head_start: Literal["logistic_regression", "random"] | None = None
    """What a dense head starts from: logistic regression on the source's features (default with
    --method parameters of a pretrained source), or random weights (default otherwise)."""

    dropout: Share = Parameters.dropout
    """Share of the encoder's outputs dropped in training, so that few labels are not learned by
    heart: 0.5 is usual (a dense head)."""

    augment: str | None = None
    """Random views of the examples, so that few labels teach more (a dense head): affine or
    affine:STRENGTH (turned, stretched, slanted and shifted a little) or shift:PIXELS for images,
    noise:DEVIATION (of values scaled to [-1, 1]) for any data, or none (default: the method's own;
    for parameters affine for images where no layer is locked)."""

    freeze: NotNegative | Literal["all"] = Parameters.freeze
    """Lock the first N layers of the encoder that have weights, or all of them."""

    head_epochs: int | None = None
    """Train the new head alone for this many epochs first (default: 0, or --unfreeze-every)."""

    unfreeze_every: AtLeastOne | None = None
    """Gradual unfreezing: from the head down, unlock one more layer every so many epochs."""

    layer_decay: LayerDecay = Parameters.layer_decay
    """Discriminative learning rates: each layer's is this share of the one above it."""

    compare_scratch: Literal["auto", "yes", "no"] = "auto"
    """Train the same network from scratch too, to say what the transfer saved; auto where
    that takes seconds."""

    reinitialize: bool = False
    """Keep the source's architecture but not its weights: the same network from scratch."""

    hidden_units: Units = (*WIDE_UNITS, WIDE_LATENT_DIM)
    """Widths of the hidden layers (--source scratch)."""

    latent_dim: AtLeastOne | None = None
    """Width of a code layer (--source scratch; default: none)."""

    labels: AtLeastOne | None = None
    """Use a stratified draw of this many labelled examples (default: all there are)."""

    validation_split: Share | None = None
    """Share of the labelled examples held out to watch the training (default: 0.1; none of fewer
    than 200, which teach more than they tell, unless --patience, --lr-decay plateau or
    --compare-scratch yes needs some)."""

    lr_decay: LearningRateDecay | None = None
    """How the learning rate falls over the epochs (default: the method's own; none for
    parameters)."""

    warmup_epochs: int = Parameters.warmup_epochs
    """Epochs over which the learning rate rises to its initial value."""

    patience: AtLeastOne | None = None
    """Stop after this many epochs without a better validation loss, and keep the best."""

    def __post_init__(self) -> None:
        starts_anywhere = hasattr(BY_NAME[self.method], "initial_weights")
        if starts_anywhere and self.initial_weights is None and self._is_pretrained:
            object.__setattr__(self, "initial_weights", "source")  # given to start from
        for name, value in self._left_to_the_method():  # resolved at once, as config.json has it
            object.__setattr__(self, name, value)
        if self.head_start is None:
            start = "logistic_regression" if self.transfers_parameters else "random"
            object.__setattr__(self, "head_start", start)
        if self.learning_rate is None:  # of the others, the two rates of a head
            from_regression = self.head_start == "logistic_regression"
            rate = TRANSFERRED_LEARNING_RATE if from_regression else 1e-3
            object.__setattr__(self, "learning_rate", rate)
        super().__post_init__()
        require_fewer_epochs("head_epochs", self.head_epochs, self.epochs)
        require_fewer_epochs("warmup_epochs", self.warmup_epochs, self.epochs)
        augmentation_of(self.augment)
        self._require_settings_that_agree()

    def _left_to_the_method(self) -> Iterator[tuple[str, object]]:
        """Settings that are not given, with the method's defaults; a head's depend on the source,
        too."""
        kind = BY_NAME[self.method]
        for name in sorted({f.name for f in dataclasses.fields(self)} - {"head", "head_start"}):
            default = getattr(kind, name, getattr(Steps, name, None))
            if getattr(self, name) is None and default is not None:
                yield name, default

    def _settings_of_other_methods(self) -> Iterator[tuple[str, str]]:
        """Settings that some methods lack, each with a method that has it."""
        yield from self.settings_of_methods.items()
        if self.method not in ("parameters", "features"):
            common = {field.name for field in dataclasses.fields(Steps)}
            for name in sorted({field.name for field in dataclasses.fields(Parameters)} - common):
                if name != "head_start":
                    yield name, Parameters.name

    def _require_settings_that_agree(self) -> None:
        own = {field.name for field in dataclasses.fields(BY_NAME[self.method])}
        for name, method in self._settings_of_other_methods():
            if name not in own and getattr(self, name) != getattr(FinetuneConfig, name):
                raise UserError(
                    setting=name,
                    given=getattr(self, name),
                    when=f"with {named('method', self.method)}",
                    expected=f"{named('method', method)}, whose setting it is",
                    remedy=f"give that, or leave {named(name)} out",
                )
        if self.source_range and not self.source.endswith(".keras"):
            raise UserError(
                setting="source_range",
                given=self.source_range,
                when=f"with {named('source', self.source)}",
                expected="a FILE.keras",
                remedy="leave it out, since runs and applications know their range",
            )
        if self.source == "scratch" and self.method == "features":
            raise UserError(
                setting="method",
                given="features",
                when=f"with {named('source', 'scratch')}",
                expected="a pretrained source",
                remedy=f"give {named('source', 'RUN')}, or {named('method', 'parameters')}",
            )
        stages = self.head_epochs or self.unfreeze_every or self.layer_decay < 1
        if self.method == "features" and stages:
            raise UserError(
                f"{named('head_epochs')}, {named('unfreeze_every')} or {named('layer_decay')} was "
                f"given with {named('method', 'features')}, expected "
                f"{named('method', 'parameters')}: features come from a locked encoder, so leave "
                "it out."
            )
        if self.method == "parameters" and self.head == "logistic_regression":
            raise UserError(
                setting="head",
                given="logistic_regression",
                when=f"with {named('method', 'parameters')}",
                expected="dense",
                remedy="logistic regression fits frozen features, so give "
                f"{named('method', 'features')} with it",
            )
        for name, value in (("initial_weights", "source"), ("graph_features", "encoder")):
            if getattr(self, name) == value and not self._is_pretrained:
                raise UserError(
                    setting=name,
                    given=value,
                    when="where nothing is pretrained",
                    expected="a pretrained source",
                    remedy=f"give {named('source', 'RUN')}, or leave {named(name)} out",
                )
        for name in ("dropout", "augment"):
            given = getattr(self, name) not in (None, 0, "none")
            if given and self.chosen_head == "logistic_regression":
                raise UserError(
                    setting=name,
                    given=getattr(self, name),
                    when="with logistic regression",
                    expected="a dense head, which is trained by steps",
                    remedy=f"give {named('head', 'dense')}, or leave {named(name)} out",
                )
        if self.head_start == "logistic_regression" and not self.transfers_parameters:
            raise UserError(
                setting="head_start",
                given="logistic_regression",
                when="where no pretrained parameters are transferred",
                expected=f"{named('method', 'parameters')} with a pretrained source",
                remedy=f"give these, or leave {named('head_start')} out",
            )
        if self.method == "parameters" and self.features_from != "bottleneck":
            raise UserError(
                setting="features_from",
                given=self.features_from,
                when=f"with {named('method', 'parameters')}",
                expected=f"{named('method', 'features')}",
                remedy=f"give that, or leave {named('features_from')} out",
            )

    def share_held_out(self, num_labels: int) -> float:
        """Share of so many labelled examples that is held out."""
        if self.validation_split is not None:
            return self.validation_split
        needed = self.patience or self.lr_decay == "plateau" or self.compare_scratch == "yes"
        return HELD_OUT_SHARE if needed or num_labels >= LEAST_TO_HOLD_OUT else 0.0

    @property
    def transfers_parameters(self) -> bool:
        """Whether pretrained layers are trained on."""
        return self.method == "parameters" and self._is_pretrained

    @property
    def _is_pretrained(self) -> bool:
        return self.source != "scratch" and not self.reinitialize

    @property
    def chosen_head(self) -> str:
        """The head in force: the one given, or the method's default."""
        return self.head or ("logistic_regression" if self.method == "features" else "dense")

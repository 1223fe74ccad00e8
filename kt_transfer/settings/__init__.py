"""Every setting of every command, in one place: a frozen dataclass per command.

The fields are the flags, their docstrings the help texts. Nothing heavy is imported here,
so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from kt_transfer.errors import UserError
from kt_transfer.methods import BY_NAME
from kt_transfer.methods.parameters import TRANSFERRED_LEARNING_RATE
from kt_transfer.methods.pretraining import MASKED_SHARE, WIDE_LATENT_DIM, WIDE_UNITS
from kt_transfer.settings.requirements import (
    require,
    require_fewer_epochs,
    require_labels,
    require_name,
    require_patience,
    require_range,
    require_source_range,
    require_teacher_weights,
    require_units,
    shown_range,
)

LearningRateDecay = Literal["none", "exponential", "step", "cosine", "plateau"]
Method = Literal[tuple(BY_NAME)]
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss"]
Sparsity = Literal["squared_l1", "l1", "kl", "k_sparse"]
LABEL_WEIGHT = 100.0

REFERENCE_UNITS, REFERENCE_LATENT_DIM = (128, 64, 32, 16), 8
CONV_LATENT_DIM = 256


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command understands."""

    data_dir: Path | None = None
    """TensorFlow Datasets directory (default: TFDS_DATA_DIR, then ~/tensorflow_datasets)."""

    overwrite: bool = False
    """Replace the output if it exists; the old one is kept until the new one is complete."""

    quiet: bool = False
    """Print nothing but errors."""

    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Training(Common):
    """What every command that trains understands."""

    out: Path | None = None
    """Run folder to write (default: runs/COMMAND-TIME)."""

    seed: int = 0
    """Seed of the initial weights, the order of examples and the draw of labels."""

    epochs: int = 20
    """Passes over the training examples."""

    batch_size: int = 64
    """Examples per step, over all devices together."""

    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""

    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    """tf.distribute strategy; auto is mirrored where there are several devices."""

    num_devices: int | None = None
    """Split the CPU into this many logical devices, to try a strategy without GPUs."""

    jit_compile: Literal["auto", "yes", "no"] = "auto"
    """Compile training with XLA; auto compiles where the run is long enough to pay for it."""

    resume: bool = False
    """Continue the interrupted run in --out, with its own settings."""

    from_run: Path | None = None
    """Take the settings of this run as defaults."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "--seed", self.seed, "0 or more")
        require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        require(self.batch_size >= 1, "--batch-size", self.batch_size, "at least 1")
        require(
            self.learning_rate is None or 0 < self.learning_rate < math.inf,
            "--learning-rate",
            self.learning_rate,
            "more than 0",
        )
        require(
            self.num_devices is None or self.num_devices >= 1,
            "--num-devices",
            self.num_devices,
            "at least 1",
        )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Training):
    """Train an autoencoder (or, with labels, a classifier) on a source task."""

    data: str = "digits"
    """Source data: digits, tfds:NAME[:VERSION], idx:DIR, images:DIR or npz:FILE."""

    objective: Literal["reconstruction", "classification"] = "reconstruction"
    """Reconstruct the examples, without labels; or learn the labels of the source data, so that
    a classifier's body can be transferred."""

    model: Literal["dense", "sparse", "conv"] = "dense"
    """Dense autoencoder, one with a sparsity penalty on its code, or a convolutional one for
    images of any size and channels."""

    hidden_units: tuple[int, ...] | None = None
    """Widths of the encoder's hidden layers; the decoder mirrors them (--model dense or sparse).
    Where neither this nor --latent-dim is given, a dense autoencoder is wide (500, --latent-dim
    500, --noise 0.7); otherwise 128 64 32 16."""

    filters: tuple[int, ...] = (16, 32)
    """Filters of the encoder's convolutions, each of which halves height and width; the decoder
    mirrors them (--model conv)."""

    latent_dim: int | None = None
    """Width of the code (default: 500, with --hidden-units or --model sparse 8, with --model
    conv 256)."""

    sparsity: Sparsity = "squared_l1"
    """Penalty on the code (--model sparse)."""

    sparsity_weight: float | None = None
    """Weight of the penalty, next to a squared error summed over the features
    (default: 1e-3 for squared_l1, 1e-2 for l1, 1 for kl)."""

    sparsity_target: float = 0.05
    """Mean activity of a code unit (--sparsity kl)."""

    num_active: int | None = None
    """Code units that stay, the largest (--sparsity k_sparse; default: a quarter)."""

    noise: float | None = None
    """Denoising: share of the inputs dropped during training, or the standard deviation of the
    noise added to them (default: 0.7 with the wide layers and with --model conv, 0 otherwise)."""

    noise_kind: Literal["masking", "gaussian"] = "masking"
    """Kind of that noise."""

    labels: int | None = None
    """Semi-supervised: this many labelled examples add a classification loss to the
    reconstruction (with --objective classification: use no more than these)."""

    label_weight: float = LABEL_WEIGHT
    """Weight of that classification loss, next to a squared error summed over the features."""

    patience: int | None = None
    """Stop after this many epochs without a better validation loss, and keep the best."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self._defaults().items():  # resolved at once, as config.json has it
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        require_units("--hidden-units", self.hidden_units)
        require_units("--filters", self.filters)
        require(len(self.filters) > 0, "--filters", self.filters, "at least one number")
        require(self.latent_dim >= 1, "--latent-dim", self.latent_dim, "at least 1")
        require(
            0 <= self.noise < 1 or (self.noise == 1 and self.noise_kind == "gaussian"),
            "--noise",
            self.noise,
            "a share from 0 to below 1 (masking), or a deviation from 0 to 1 (gaussian)",
        )
        require(
            0 < self.sparsity_target < 1,
            "--sparsity-target",
            self.sparsity_target,
            "a mean activity between 0 and 1",
        )
        require(
            self.num_active is None or 1 <= self.num_active <= self.latent_dim,
            "--num-active",
            self.num_active,
            f"1 to the {self.latent_dim} units of --latent-dim",
        )
        require(self.labels is None or self.labels >= 1, "--labels", self.labels, "at least 1")
        require(self.label_weight >= 0, "--label-weight", self.label_weight, "0 or more")
        require(
            self.sparsity_weight is None or self.sparsity_weight >= 0,
            "--sparsity-weight",
            self.sparsity_weight,
            "0 or more",
        )
        require_patience(self.patience)

    def _defaults(self) -> dict:
        """Shape and noise where none is given."""
        if self.model == "conv":
            shape, noise = (REFERENCE_UNITS, CONV_LATENT_DIM), MASKED_SHARE
        elif self.model == "dense" and self.hidden_units is None and self.latent_dim is None:
            shape, noise = (WIDE_UNITS, WIDE_LATENT_DIM), MASKED_SHARE
        else:
            shape, noise = (REFERENCE_UNITS, REFERENCE_LATENT_DIM), 0.0
        return {"hidden_units": shape[0], "latent_dim": shape[1], "noise": noise}


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Training):
    """Transfer a source model to a target task with labels."""

    source: str
    """What to transfer from: a run folder, FILE.keras, keras_applications:NAME (weights from
    ImageNet, fetched by Keras), or scratch for no transfer."""

    source_range: tuple[float, float] | None = None
    """What the smallest and the largest raw value become for a FILE.keras (default: -1 1, or raw
    values as they are where the model scales by itself)."""

    data: str | None = None
    """Target data (default: the source run's data; digits for any other source)."""

    epochs: int = 100
    """Passes over the labelled training examples."""

    batch_size: int = 32
    """Examples per step, over all devices together."""

    learning_rate: float | None = None
    """Initial learning rate of Adam (default: 1e-3; 1e-4 where all starts from what was learned,
    the head from logistic regression)."""

    method: Literal["parameters", "features"] = "parameters"
    """Transfer the parameters and train on, or the features of the frozen encoder."""

    features_from: str = "bottleneck"
    """Features to take (--method features): bottleneck for the encoder's output, the name of one
    of its layers, or all for those of every layer with weights."""

    head: Literal["dense", "logistic_regression"] | None = None
    """New classifier (default: dense for parameters, logistic_regression for features)."""

    head_start: Literal["logistic_regression", "random"] | None = None
    """What a dense head starts from: logistic regression on the source's features (default with
    --method parameters of a pretrained source), or random weights (default otherwise)."""

    dropout: float = 0.0
    """Share of the encoder's outputs dropped in training, so that few labels are not learned by
    heart: 0.5 is usual (a dense head)."""

    freeze: int | Literal["all"] = 0
    """Lock the first N layers of the encoder that have weights, or all of them."""

    head_epochs: int | None = None
    """Train the new head alone for this many epochs first (default: 0, or --unfreeze-every)."""

    unfreeze_every: int | None = None
    """Gradual unfreezing: from the head down, unlock one more layer every so many epochs."""

    layer_decay: float = 1.0
    """Discriminative learning rates: each layer's is this share of the one above it."""

    compare_scratch: Literal["auto", "yes", "no"] = "auto"
    """Train the same network from scratch too, to say what the transfer saved; auto where
    that takes seconds."""

    reinitialize: bool = False
    """Keep the source's architecture but not its weights: the same network from scratch."""

    hidden_units: tuple[int, ...] = (*WIDE_UNITS, WIDE_LATENT_DIM)
    """Widths of the hidden layers (--source scratch)."""

    latent_dim: int | None = None
    """Width of a code layer (--source scratch; default: none)."""

    labels: int | None = None
    """Use a stratified draw of this many labelled examples (default: all there are)."""

    validation_split: float = 0.1
    """Share of the labelled examples held out to watch the training."""

    lr_decay: LearningRateDecay = "none"
    """How the learning rate falls over the epochs."""

    warmup_epochs: int = 0
    """Epochs over which the learning rate rises to its initial value."""

    patience: int | None = None
    """Stop after this many epochs without a better validation loss, and keep the best."""

    def __post_init__(self) -> None:
        if self.head_start is None:  # resolved at once, as config.json has it
            start = "logistic_regression" if self.transfers_parameters else "random"
            object.__setattr__(self, "head_start", start)
        if self.learning_rate is None:
            from_regression = self.head_start == "logistic_regression"
            rate = TRANSFERRED_LEARNING_RATE if from_regression else 1e-3
            object.__setattr__(self, "learning_rate", rate)
        super().__post_init__()
        require_units("--hidden-units", self.hidden_units)
        require_labels(self)
        require(
            self.latent_dim is None or self.latent_dim >= 1,
            "--latent-dim",
            self.latent_dim,
            "at least 1",
        )
        require(0 <= self.dropout < 1, "--dropout", self.dropout, "a share from 0 to below 1")
        require(self.freeze == "all" or self.freeze >= 0, "--freeze", self.freeze, "0 or more")
        require_fewer_epochs("--head-epochs", self.head_epochs, self.epochs)
        require(
            self.unfreeze_every is None or self.unfreeze_every >= 1,
            "--unfreeze-every",
            self.unfreeze_every,
            "at least 1",
        )
        require(
            0 < self.layer_decay <= 1, "--layer-decay", self.layer_decay, "above 0 and at most 1"
        )
        require_fewer_epochs("--warmup-epochs", self.warmup_epochs, self.epochs)
        require_source_range(self.source, self.source_range)
        require_patience(self.patience)
        self._require_flags_that_agree()

    def _require_flags_that_agree(self) -> None:
        if self.source == "scratch" and self.method == "features":
            raise UserError(
                "--method features was given with --source scratch, expected a pretrained "
                "source: give --source RUN, or --method parameters."
            )
        stages = self.head_epochs or self.unfreeze_every or self.layer_decay < 1
        if self.method == "features" and stages:
            raise UserError(
                "--head-epochs, --unfreeze-every or --layer-decay was given with --method "
                "features, expected --method parameters: features come from a locked encoder, so "
                "leave the flag out."
            )
        if self.method == "parameters" and self.head == "logistic_regression":
            raise UserError(
                "--head logistic_regression was given with --method parameters, expected dense: "
                "logistic regression fits frozen features, so give --method features with it."
            )
        if self.dropout and self.chosen_head == "logistic_regression":
            raise UserError(
                f"--dropout {self.dropout} was given with logistic regression, expected a "
                "dense head, which is trained by steps: give --head dense, or leave --dropout "
                "out."
            )
        if self.head_start == "logistic_regression" and not self.transfers_parameters:
            raise UserError(
                "--head-start logistic_regression was given where no pretrained parameters are "
                "transferred, expected --method parameters with a pretrained source: give these, "
                "or leave --head-start out."
            )
        if self.method == "parameters" and self.features_from != "bottleneck":
            raise UserError(
                f"--features-from {self.features_from} was given with --method parameters, "
                "expected --method features: give that, or leave --features-from out."
            )

    @property
    def transfers_parameters(self) -> bool:
        """Whether pretrained layers are trained on."""
        return self.method == "parameters" and self.source != "scratch" and not self.reinitialize

    @property
    def chosen_head(self) -> str:
        """The head in force: the one given, or the method's default."""
        return self.head or ("dense" if self.method == "parameters" else "logistic_regression")


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Training):
    """Train a small student from the soft targets of one or more teachers."""

    teacher: tuple[Path, ...]
    """Teachers: run folders, FILE.keras or SavedModel folders; the answers of several are
    averaged."""

    teacher_weights: tuple[float, ...] | None = None
    """Weight of each teacher in that average (default: all alike)."""

    teacher_output: Literal["auto", "logits", "probabilities"] = "auto"
    """What a FILE.keras or a SavedModel emits; auto tells it from its last layer or the name of
    its output, and from what it emits."""

    teacher_range: tuple[float, float] | None = None
    """What the smallest and the largest raw value become for a FILE.keras (default: -1 1, or raw
    values where it scales by itself) or a SavedModel (default: raw values)."""

    trust_teacher: bool = False
    """Load a SavedModel that may touch files, a network, processes or Python, which is refused
    otherwise: a SavedModel is a program."""

    class_map: Path | None = None
    """JSON file {"teacher's class": "student's class", ...}, where the classes differ: those that
    become one add up, those that are left out are dropped. A model without class names has
    numbers: "0", "1", ..."""

    data: str | None = None
    """Transfer data (default: the data of the first teacher that is a run; else digits)."""

    epochs: int = 40
    """Passes over the transfer examples, labelled or not."""

    student_units: tuple[int, ...] = (32,)
    """Widths of the student's hidden layers."""

    student: Path | None = None
    """FILE.keras whose layers and weights the student starts from, instead of --student-units; it
    gets a new head where its own has not as many units as there are classes."""

    student_range: tuple[float, float] | None = None
    """What the smallest and the largest raw value become for --student (default: as for a
    teacher's FILE.keras)."""

    temperature: float = 4.0
    """Temperature of the soft targets (--loss kl or decoupled)."""

    alpha: float = 0.1
    """Weight of the hard-label loss; 1 - alpha weighs the soft one."""

    loss: Literal["kl", "cross_entropy", "decoupled", "none"] = "kl"
    """Temperature KL divergence; cross-entropy with the teacher's probabilities; decoupled
    KL, the target class and the others apart; or none, for a teacher of other classes that
    gives hints alone."""

    beta: float = 8.0
    """Weight of the classes that are not the target, where that of the target is 1
    (--loss decoupled)."""

    hint: str | None = None
    """Layer of the first teacher that the student's features are to tell."""

    hint_student: str | None = None
    """Layer of the student that gives these features (default: its last hidden one)."""

    hint_weight: float = 1.0
    """Weight of the hint's loss."""

    hint_loss: Literal["mse", "cosine"] = "mse"
    """Mean squared error or cosine distance of the features."""

    hint_epochs: int = 0
    """Train on the hint alone for the first so many epochs, and without it from then on
    (0: the hint and the soft targets together)."""

    augment: str | None = None
    """Random views of the examples, which teacher and student see alike: shift:PIXELS for
    images, noise:DEVIATION (of values scaled to [-1, 1]) for any data."""

    compare_scratch: Literal["auto", "yes", "no"] = "auto"
    """Train the same student on the labels alone too, with as many steps, to say what
    distillation gained; auto where that takes seconds."""

    labels: int | None = None
    """Draw this many labels (default: exactly the labels that the teacher saw)."""

    validation_split: float = 0.1
    """Share of the labelled examples held out to watch the training (with --labels)."""

    lr_decay: LearningRateDecay = "none"
    """How the learning rate falls over the epochs."""

    warmup_epochs: int = 0
    """Epochs over which the learning rate rises to its initial value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_units("--student-units", self.student_units)
        require_labels(self)
        require(len(self.teacher) > 0, "--teacher", self.teacher, "at least one run folder")
        require(0 < self.temperature < math.inf, "--temperature", self.temperature, "more than 0")
        require(0 <= self.alpha <= 1, "--alpha", self.alpha, "a weight from 0 to 1")
        require(0 <= self.beta < math.inf, "--beta", self.beta, "0 or more")
        require(0 <= self.hint_weight < math.inf, "--hint-weight", self.hint_weight, "0 or more")
        require_fewer_epochs("--hint-epochs", self.hint_epochs, self.epochs)
        require_fewer_epochs("--warmup-epochs", self.warmup_epochs, self.epochs)
        require_teacher_weights(self.teacher, self.teacher_weights)
        require_range("--teacher-range", self.teacher_range)
        require_range("--student-range", self.student_range)
        augmentation_of(self.augment)
        if self.loss == "none" and self.hint is None:
            raise UserError(
                "--loss none was given without --hint, expected something to learn from the "
                "teacher: add --hint LAYER, or give another --loss."
            )
        if self.loss == "none" and len(self.teacher) > 1:
            raise UserError(
                f"--loss none was given with {len(self.teacher)} teachers, expected one, whose "
                "layer is the hint: give one --teacher, or another --loss."
            )
        if self.hint is None and (self.hint_epochs or self.hint_student):
            raise UserError(
                "--hint-epochs or --hint-student was given without --hint, expected the teacher's "
                "layer: add --hint LAYER, or leave it out."
            )
        if self.student_range and self.student is None:
            raise UserError(
                f"--student-range {shown_range(self.student_range)} was given without --student, "
                "expected a FILE.keras: add --student FILE.keras, or leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Training):
    """Cross-validate the ways of transferring against no transfer, and hand over the winner."""

    data: str = "digits"
    """Target data: digits, tfds:NAME[:VERSION], idx:DIR, images:DIR or npz:FILE."""

    source: tuple[str, ...] = ()
    """What to transfer from, each a candidate: run folders, FILE.keras, keras_applications:NAME.
    A run that was pretrained on the target data is trained anew in every fold."""

    source_data: str | None = None
    """Pretrain on this set (default, without --source: on the target's own training split)."""

    labels: tuple[int | Literal["all"], ...] = (50, 100, 200)
    """Label budgets: so many labelled examples are all there are, and the folds split them."""

    folds: int = 5
    """Stratified folds that split the labelled examples of each budget."""

    repeats: int = 3
    """Draws of the labelled examples, each split into folds of its own."""

    methods: tuple[Method, ...] = ("scratch", "parameters", "features", "distilled", "linear")
    """What to compare; scratch, no transfer, is what all others are held against."""

    candidates: Path | None = None
    """JSON file of further candidates, [{"name": NAME, "method": METHOD, SETTING: VALUE, ...}]: a
    method with the settings that finetune or distill can set, or "run", a run folder of either."""

    metric: Metric = "accuracy"
    """What to judge by, on held-out examples."""

    prefer: Literal["best", "smallest"] = "best"
    """The winner: the best mean at the largest budget, or the smallest network that is not
    shown to be worse than it."""

    epochs: int = 100
    """Passes over the labelled examples, the same for scratch and transfer."""

    batch_size: int = 32
    """Examples per step, over all devices together."""

    learning_rate: float | None = None
    """Initial learning rate of Adam in all that is trained (default: 1e-3, and 1e-4 where
    pretrained parameters are trained further, as finetune has it)."""

    pretrain_epochs: int = 50
    """Passes over the unlabelled examples in pretraining."""

    hidden_units: tuple[int, ...] = WIDE_UNITS
    """Widths of the encoder's hidden layers (without --source)."""

    latent_dim: int = WIDE_LATENT_DIM
    """Width of its code (without --source)."""

    student_units: tuple[int, ...] = (64,)
    """Widths of the hidden layers of the student (distilled)."""

    time_budget: str | None = None
    """Time that all may take, such as 90s, 10m or 2h: after a few timed epochs, repeats are cut to
    fit, then folds, then epochs as far as networks still learn, then the slowest methods; what
    cannot fit is refused."""

    name: str = "compare"
    """Name of the served model."""

    export_dir: Path = Path("saved_models")
    """Folder that holds the served models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_units("--hidden-units", self.hidden_units)
        require_units("--student-units", self.student_units)
        require(self.latent_dim >= 1, "--latent-dim", self.latent_dim, "at least 1")
        require(len(self.labels) > 0, "--labels", self.labels, "at least one budget")
        for budget in self.labels:
            require(budget == "all" or budget >= 1, "--labels", budget, "at least 1")
        require(self.folds >= 2, "--folds", self.folds, "at least 2")
        require(self.repeats >= 1, "--repeats", self.repeats, "at least 1")
        require(self.pretrain_epochs >= 1, "--pretrain-epochs", self.pretrain_epochs, "at least 1")
        require(
            "scratch" in self.methods and (self.candidates or len(set(self.methods)) > 1),
            "--methods",
            " ".join(self.methods),
            "scratch and at least one other",
        )
        require("scratch" not in self.source, "--source", "scratch", "a model to transfer from")
        require_name(self.name)
        self.time_budget_seconds  # noqa: B018 (refused here if it is none)
        if self.strategy == "multi_worker":
            raise UserError(
                "--strategy multi_worker was given to compare, expected one machine: leave it "
                "out, or give mirrored."
            )

    @property
    def time_budget_seconds(self) -> float | None:
        """``--time-budget`` in seconds."""
        if self.time_budget is None:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", self.time_budget)
        require(
            found is not None and float(found[1]) > 0,
            "--time-budget",
            self.time_budget,
            "a time such as 90s, 10m or 2h",
        )
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Common):
    """Measure a run on a data set."""

    run: Path
    """Run folder to measure."""

    data: str | None = None
    """Data to measure on (default: the run's own)."""

    split: Literal["test", "train", "all"] = "test"
    """Which part of the data."""

    out: Path | None = None
    """Folder for evaluation.json and the plots (default: the run folder)."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig(Common):
    """Write the predictions of a run or an exported model to a CSV file."""

    run: Path | None = None
    """Run folder that predicts."""

    model: Path | None = None
    """Exported model that predicts: saved_models/NAME/N."""

    trust_model: bool = False
    """Load a --model that may touch files, a network, processes or Python, which is refused
    otherwise: a SavedModel is a program."""

    data: str | None = None
    """Data to predict (default: the run's own)."""

    split: Literal["test", "train", "all"] = "all"
    """Which part of the data."""

    out: Path | None = None
    """CSV file to write (default: runs/predict-TIME.csv)."""

    def __post_init__(self) -> None:
        if (self.run is None) == (self.model is None):
            given = "neither --run nor --model" if self.run is None else "both --run and --model"
            raise UserError(
                f"{given} was given, expected one of them: give --run RUN for a run folder or "
                "--model saved_models/NAME/N for an export."
            )


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Common):
    """Write a run as a versioned SavedModel for TF Serving."""

    run: Path
    """Run folder to export."""

    name: str | None = None
    """Name of the served model (default: the run folder's name)."""

    format: Literal["saved_model"] = "saved_model"
    """Format of the export."""

    export_dir: Path = Path("saved_models")
    """Folder that holds the served models."""

    def __post_init__(self) -> None:
        require_name(self.name)


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig(Training):
    """The whole chain as one command: pretrain, finetune, distill, evaluate, export."""

    data: str = "digits"
    """Data for every step: digits, tfds:NAME[:VERSION], idx:DIR, images:DIR or npz:FILE."""

    epochs: int = 100
    """Passes over the examples in each step."""

    batch_size: int = 32
    """Examples per step, over all devices together."""

    learning_rate: float | None = None
    """Initial learning rate of Adam in every step (default: each command's own)."""

    labels: int | None = 200
    """Labelled examples that fine-tuning and distillation may use."""

    name: str = "quickstart"
    """Name of the served model."""

    export_dir: Path = Path("saved_models")
    """Folder that holds the served models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.labels is None or self.labels >= 1, "--labels", self.labels, "at least 1")
        require_name(self.name)
        if self.strategy == "multi_worker":
            raise UserError(
                "--strategy multi_worker was given to quickstart, expected one machine: run "
                "pretrain, finetune and distill on the workers, each with its --out."
            )


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search understands beside the searched command's own flags."""

    search: Literal["random", "hyperband"] = "random"
    """Search algorithm."""

    max_trials: int = 10
    """Trials to run (random); Hyperband plans its own number from --epochs."""

    def __post_init__(self) -> None:
        require(self.max_trials >= 1, "--max-trials", self.max_trials, "at least 1")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class TunePretrainConfig(Search, PretrainConfig):
    """Search the settings of pretrain with KerasTuner."""

    searched: ClassVar[str] = "pretrain"
    """The command whose settings are searched."""


@dataclass(frozen=True, kw_only=True)
class TuneFinetuneConfig(Search, FinetuneConfig):
    """Search the settings of finetune with KerasTuner."""

    searched: ClassVar[str] = "finetune"
    """The command whose settings are searched."""


@dataclass(frozen=True, kw_only=True)
class TuneDistillConfig(Search, DistillConfig):
    """Search the settings of distill with KerasTuner."""

    searched: ClassVar[str] = "distill"
    """The command whose settings are searched."""


def narrow(config, narrower, *without: str):
    """The fields of ``config`` that the dataclass ``narrower`` has, as one of it.

    Args:
        config: Settings of a command.
        narrower: Settings of a command within it, or a method; what the command cannot set keeps
            its default.
        *without: Fields to leave at their default.
    """
    names = {field.name for field in dataclasses.fields(narrower)} - set(without)
    return narrower(**{name: getattr(config, name) for name in names if hasattr(config, name)})


def augmentation_of(spec: str | None) -> tuple[str, float] | None:
    """The kind and strength that ``--augment`` names.

    Example:
        >>> augmentation_of("shift:2")
        ('shift', 2.0)
    """
    if spec is None:
        return None
    kind, _, number = spec.partition(":")
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    whole = kind == "noise" or strength.is_integer()
    require(
        kind in ("shift", "noise") and 0 < strength < math.inf and whole,
        "--augment",
        spec,
        "shift:PIXELS with a whole number, or noise:DEVIATION",
    )
    return kind, strength


def to_settings(config) -> dict:
    """``config`` as what ``json.dump`` takes."""
    return _converter().unstructure(config)


def from_settings(config_class, settings: dict):
    """The ``config_class`` that ``settings`` describe; a key that it does not know is refused."""
    try:
        return _converter().structure(settings, config_class)
    except Exception as error:
        for mistake in [error, *getattr(error, "exceptions", [])]:
            if isinstance(mistake, UserError):
                raise mistake from None
        unknown = sorted(set(settings) - {f.name for f in dataclasses.fields(config_class)})
        reason = f"unknown settings {', '.join(unknown)}" if unknown else f"{error}"
        raise UserError(
            f"settings of another kind were given ({reason}), expected those of "
            f"{config_class.__name__}: give a run of the same command and version."
        ) from error


def _converter():
    from cattrs.preconf.json import make_converter

    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    # As JSON reads it back, so that a resumed run finds its settings unchanged.
    for pair in (tuple[float, float], tuple[float, ...]):
        converter.register_unstructure_hook_func(lambda kind, pair=pair: kind == pair, list)
    # The one field that is a number or a word.
    converter.register_structure_hook(int | Literal["all"], lambda value, _: value)
    return converter

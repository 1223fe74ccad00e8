import pandas as pd

from kt_transfer import predict
from kt_transfer.files.spreadsheets import without_formulas
from kt_transfer.runs.folder import Run


def test_text_that_a_spreadsheet_would_compute_is_text():
    table = pd.DataFrame(
        {
            "=cmd|'/C calc'!A0": [0.5, -0.5, 1.0],
            "label": ["=cmd|'/C calc'!A0", "@SUM(1)", "a = b"],
            "number": ["-2", "+1e5", "- 2"],
        }
    )
    safe = without_formulas(table)
    assert list(safe) == ["'=cmd|'/C calc'!A0", "label", "number"]
    assert safe.iloc[:, 0].tolist() == [0.5, -0.5, 1.0]
    assert safe["label"].tolist() == ["'=cmd|'/C calc'!A0", "'@SUM(1)", "a = b"]
    assert safe["number"].tolist() == ["-2", "+1e5", "'- 2"]
    assert table["label"][0].startswith("=")


def test_predictions_of_such_classes(chain, tmp_path):
    run = Run(tmp_path / "run")
    import shutil

    shutil.copytree(chain.student, run.path)
    names = ["=HYPERLINK(1)", *run.label_names[1:]]
    run.write_json("labels.json", {"labels": names})
    answers = pd.read_csv(predict.run(run=run.path, out=tmp_path / "a.csv", quiet=True))
    assert "'=HYPERLINK(1)" in set(answers["label"])
    assert "probability_=HYPERLINK(1)" in answers

"""Cross-validated comparisons: folds, cells, statistics, verdicts."""

"""Which way of transferring is worth it: folds, learners, statistics, the comparison."""

from kt_transfer.reporting.savings import describe_savings, saved_by_transfer


def history(*accuracies, seconds=2.0):
    return [
        {"epoch": n, "seconds": 50.0 if n == 0 else seconds, "val_accuracy": value}
        for n, value in enumerate(accuracies)
    ]


def test_the_first_time_that_scratchs_last_accuracy_is_reached():
    saved = saved_by_transfer(history(0.5, 0.81, 0.7), history(0.2, 0.4, 0.9, 0.8, seconds=1.0), 40)
    assert saved["accuracy"] == 0.8
    assert saved["transfer"] == {"epochs": 2, "seconds": 4.0}
    assert saved["scratch"] == {"epochs": 3, "seconds": 3.0}
    assert describe_savings(saved) == (
        "transfer reached the accuracy that scratch ends with (0.8000 of 40 validation examples) "
        "in 2 epochs (4.0 s), scratch in 3 epochs (3.0 s)"
    )


def test_a_transfer_that_hurts_is_told():
    saved = saved_by_transfer(history(0.1, 0.2), history(0.3, 0.6), 10)
    assert saved["transfer"] is None
    assert "never reached" in describe_savings(saved)
    assert "scratch did in 2 epochs" in describe_savings(saved)


def test_one_fit_without_epochs():
    once = [{"seconds": 0.5, "val_accuracy": 0.9}]
    saved = saved_by_transfer(once, history(0.3, 0.6), 10)
    assert saved["transfer"] == {"epochs": 1, "seconds": 0.5}
    assert "in 1 epoch (0.5 s)" in describe_savings(saved)


def test_what_went_before_the_first_epoch_counts():
    saved = saved_by_transfer(history(0.5, 0.81, 0.7), history(0.2, 0.8), 40, seconds_before=1.5)
    assert saved["transfer"] == {"epochs": 2, "seconds": 5.5}

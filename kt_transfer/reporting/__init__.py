"""Tables, plots and the HTML report, and the metrics in them."""

"""Ways of learning a task from few labels, each written once."""

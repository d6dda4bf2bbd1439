"""Reference models: one small readable file per idea, trained on the digits in seconds on a CPU."""

"""The commands. Together with `__main__` this is the CLI root: the only place that composes metrics, judges and arena."""

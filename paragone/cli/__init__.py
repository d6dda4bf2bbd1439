"""The commands: with `__main__` and the demo, the only place that composes metrics, judges and arena."""

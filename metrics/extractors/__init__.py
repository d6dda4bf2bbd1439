"""Feature extractors: image → vector. The table of their names is in `paragone.metrics.extractors.table`."""

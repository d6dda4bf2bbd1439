"""`paragone demo`: the whole loop on real digits, offline. Train, sample, measure, judge, rank."""

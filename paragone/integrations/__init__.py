"""paragone inside other people's programs: training loops, trackers, test suites. Nothing here is imported unasked."""

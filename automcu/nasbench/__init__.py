"""NAS-Bench-201 as a tabular benchmark: every network's accuracy is looked up, so that methods can be compared over
thousands of searches."""

"""Language models that a run serves for itself, with Ray Serve."""

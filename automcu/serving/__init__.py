"""Language models that a run serves for itself: on Ray Serve, or, where there is no Ray, in a process of its own."""

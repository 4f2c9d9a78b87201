"""Ray: the only room that imports it. Each role of the lower floors becomes an actor; Tune runs the trainings."""

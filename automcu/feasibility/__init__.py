"""Does a network fit? Tiers state what it costs, the gate judges that against the budget, before any training."""

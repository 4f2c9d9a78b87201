"""Executors do the work that a search hands out; this room holds the one that needs nothing but this process."""

"""Benchmarks: run by hand, printed as rates and ratios, never asserted in a test."""

"""Executed instructions become estimated clock cycles and energy."""

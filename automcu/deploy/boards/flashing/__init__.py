"""Putting an image into a real part's Flash: one seam, an adapter for each tool that can do it."""

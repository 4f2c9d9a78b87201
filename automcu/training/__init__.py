"""Data sets, and the training of networks on them."""

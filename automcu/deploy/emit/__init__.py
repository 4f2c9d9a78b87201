"""From the int8 model and its memory plan to C: the network's own source, and the kernels that it calls."""

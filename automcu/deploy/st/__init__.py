"""ST's own route to a board: C code by ST Edge AI for ST's runtime, and latency measured by it on the real part."""

"""Networks as layers, as int8 operator graphs, and what such a graph costs."""

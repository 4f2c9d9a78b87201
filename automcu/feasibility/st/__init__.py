"""What ST Edge AI says of a network: by its program, by its cloud, or predicted without either."""

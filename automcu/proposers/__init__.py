"""What thinks up architectures: chance, evolution, and a language model with evolution to fall back on."""

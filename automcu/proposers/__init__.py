"""What thinks up architectures: chance, evolution, a language model, and a hybrid of the last two."""

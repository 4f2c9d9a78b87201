"""From C sources to a firmware image: compilers and linkers behind one seam."""

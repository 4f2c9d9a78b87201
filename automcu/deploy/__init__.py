"""The bundle that leaves the house: the int8 file, its C array, a model card and the evidence."""

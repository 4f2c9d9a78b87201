"""The .tflite file: read into the int8 graph, written from it, and put into its order."""

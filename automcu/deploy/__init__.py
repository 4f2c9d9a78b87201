"""From an int8 .tflite file to firmware, proof that it runs on a board, and the bundle with the evidence."""

"""From trained weights to an int8 .tflite file and its outputs. The only room that imports tensorflow."""

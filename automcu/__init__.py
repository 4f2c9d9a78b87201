"""AutoMCU designs int8 neural networks that provably fit an STM32 microcontroller."""

__version__ = "0.1.0"

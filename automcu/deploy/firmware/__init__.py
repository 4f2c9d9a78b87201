"""The firmware around a network, in C: start-up, serial protocol, cycle counter, and the linker script of the part."""

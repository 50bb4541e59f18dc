"""The equations compiled for the CPU, and the threads that run them."""

"""The user tower in numpy: arrays in, arrays out, no I/O but the loading of a file."""

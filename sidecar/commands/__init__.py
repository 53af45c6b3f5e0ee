"""The commands, a module for each kind; ``cli.py`` gathers them."""

"""The command line: words to settings, by Hydra or without, and settings to one library call."""

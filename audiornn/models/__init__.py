"""Variable-length recurrent networks: plain modules that know no config library and no training engine."""

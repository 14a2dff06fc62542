"""Files that appear whole or not at all, and tables in them that any program can open."""

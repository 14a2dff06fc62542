"""The verbs of the command line: each module has the settings of one, and `run`, which carries it out.

Modules here are imported when their verb is called; what is heavy they import inside `run`.
"""

"""Graphs that torch made of modules, traces and exported programs, as modules again."""

"""Engines: their files, their plans, the memory and the streams that they run in, and what their layers take."""

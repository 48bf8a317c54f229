"""The operations behind :mod:`trtnn.functional`: a file for each kind, and the only callers of ``Graph.emit``."""

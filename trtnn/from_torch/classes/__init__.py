"""The classes of the source: which module instances are one class, and what tells one from another."""

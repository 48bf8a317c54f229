"""Tests, in folders that mirror trtnn's rooms; tests/README.md says how they are arranged."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # of the repository

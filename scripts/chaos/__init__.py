"""Ill-treats a real server under load, and counts what its clients see of it: `python -m scripts.chaos`."""

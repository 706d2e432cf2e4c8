"""Tiny models of the architectures that the server runs, trained on a handful of pages, in the place of gigabytes."""

"""Fetches the published weights, rewrites them into Triton-ready graphs and installs them into the model repository."""

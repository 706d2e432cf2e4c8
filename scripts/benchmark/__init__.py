"""`scripts/bench`: this server against its peers and against the bare inference runtime, in one interleaved run."""

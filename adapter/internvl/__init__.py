"""InternVL: what it is asked about documents, and what its answers hold."""

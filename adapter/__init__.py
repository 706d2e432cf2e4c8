"""The HTTP side of the server: five documented APIs over one Triton."""

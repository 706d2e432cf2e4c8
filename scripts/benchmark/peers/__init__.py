"""The other contestants: what they are, where they live, and how they are asked."""

"""InternVL on transformers: pictures and a prompt in, text out, for many requests side by side."""

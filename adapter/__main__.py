"""``python -m adapter`` starts the adapter."""

from adapter.server import main

main()

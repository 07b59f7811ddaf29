"""Actions: where the answers come from."""

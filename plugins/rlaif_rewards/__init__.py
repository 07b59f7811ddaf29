"""Reward sources: what a text looks like, and what a checkpoint, a function or a judge says of it."""

"""Reward sources: what a text looks like, and what a checkpoint, a function, a judge or a dataset says of it."""

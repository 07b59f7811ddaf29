"""Fusing feedback: how far to trust each source of labels, learnt from a small set that is trusted."""

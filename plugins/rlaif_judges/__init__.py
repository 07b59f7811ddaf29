"""Judges: language models and others that say how good an answer is, and what makes their word worth trusting."""

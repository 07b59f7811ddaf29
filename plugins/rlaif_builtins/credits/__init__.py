"""Credit assignments: which token of which answer earned what."""

"""AI feedback for a whole dataset, offline: the verb `rlaif label`."""

"""`rlaif judge`: judges examined on pairs of which it is known which answer is better."""

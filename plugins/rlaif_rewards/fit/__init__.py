"""Classifiers and reward models from labelled data: what `rlaif fit` trains, measures and writes."""

"""Likelihoods, predictions and estimators: arrays in, arrays out."""

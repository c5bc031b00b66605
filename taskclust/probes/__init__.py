"""Probes of hidden states: clustering, nearest neighbours, variance components."""

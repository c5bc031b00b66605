"""Pre-training by task identity, then tuning (§4.1)."""

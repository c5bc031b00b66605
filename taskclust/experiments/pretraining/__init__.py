"""The experiment on pre-training by task identity, followed by tuning (§4.1)."""

"""The experiment on alignment with a switch network (§4.2)."""

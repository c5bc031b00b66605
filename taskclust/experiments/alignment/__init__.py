"""Alignment with a switch network (§4.2)."""

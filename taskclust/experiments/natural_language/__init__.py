"""The natural-language setting on open language models (§3.4, Appendix D)."""

"""The experiment on open language models in the natural-language setting (§3.4, Appendix D)."""

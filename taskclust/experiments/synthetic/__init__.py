"""The main experiment (§3): train a model on instruction following and probe every checkpoint."""

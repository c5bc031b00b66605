"""The main experiment (§3): train on instruction following, probe every checkpoint."""

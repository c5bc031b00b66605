"""The paper's claims, one per file. The wheel carries them as ``taskclust.benchmarks``."""

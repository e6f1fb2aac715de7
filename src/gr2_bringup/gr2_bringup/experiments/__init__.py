"""The paper's claims as experiments: each a YAML file here, run and written up by ``./gr2 experiment``."""

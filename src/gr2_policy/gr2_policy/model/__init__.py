"""GR-2: VQGAN tokens, a causal transformer, next frames and action chunks. ``docs/model.md`` explains it."""

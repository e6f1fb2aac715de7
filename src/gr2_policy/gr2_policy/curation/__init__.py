"""From raw videos to training clips: shots, clips, motion, hands, duplicates, captions, tokens, shards.

Each step is a small module that can be used alone; ``pipeline.py`` runs them on Ray Data.
"""

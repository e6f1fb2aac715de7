"""How GR-2 learns: the tokenizer, video pre-training, fine-tuning on demonstrations. Begin with ``loop.py``."""

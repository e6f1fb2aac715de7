"""Action-free video of everyday manipulation: hands and other embodiments in the cells of training, with captions."""

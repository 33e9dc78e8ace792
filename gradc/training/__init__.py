"""What a training is made of: its graph, its memory, its runs, and what is done beside them."""

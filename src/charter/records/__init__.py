"""Records: the immutable nouns that pass between the rooms."""

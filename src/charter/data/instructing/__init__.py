"""How a model is made to write prompts: what is shown to it, what is read from its replies, and what is sifted out.

``records``: seeds, calls and what came of them; ``lists``: numbered lists, shown and read; ``filters``: what no prompt
may be, near-duplicates by MinHash and ROUGE-L among it; ``stock``: what there is so far.
"""

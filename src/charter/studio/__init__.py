"""``charter studio``: a local web page in which people read runs, decide about rules and label.

It reads the same folders as every command. It changes nothing but by the jobs of the terminal: ``rule_votes`` adds to a
run's journal, and ``review_desk`` to that of a queue. Runs and models work in processes of their own.
"""

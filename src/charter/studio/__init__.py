"""``charter studio``: a local web page in which people read runs and decide about rules.

It reads the same folders as every command. It changes nothing but by ``jobs.rule_votes.cast_vote``, which adds a line
to a run's journal, and it starts runs only as processes of their own.
"""

"""What a training set is sifted by: duplicates, contamination, personal data and secrets, balance; and its data card.

Everything here streams: rows are read again rather than kept, and what must be remembered lies in a table on disk."""

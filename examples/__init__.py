"""Examples: one iteration on one page, and an object of your own for each port."""

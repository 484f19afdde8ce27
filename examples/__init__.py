"""A flat IterAlign, and an object of one's own for every port."""

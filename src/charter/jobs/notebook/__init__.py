"""What a notebook or a program of the user's own calls: the commands of the command line as functions, and a run as an
object with records and data frames. ``import charter`` gives all of it."""

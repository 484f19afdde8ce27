"""What a run holds, in the formats of other tools."""

"""Where prompts come from, behind `ports.Source`."""

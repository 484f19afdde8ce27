"""They read finished runs and compute none."""

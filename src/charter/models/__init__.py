"""Models: engines that answer, tuners that train, weights on disk. The only home of torch, transformers and trl."""

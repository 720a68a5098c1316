"""Networks: modules that map images to one logit each."""

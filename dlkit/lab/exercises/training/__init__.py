"""Training a network: the loop, its losses and gradients, and how to stop and go on."""

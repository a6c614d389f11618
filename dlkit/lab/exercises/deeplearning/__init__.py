"""Recurrent networks, reinforcement learning, GANs, distillation, transfer learning."""

"""The base model, the IA³ vectors in it, and how both are run."""

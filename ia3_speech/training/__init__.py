"""Training of IA³ vectors: options, data, loss, loop, checkpoint; one adapter, or one for each speaker."""

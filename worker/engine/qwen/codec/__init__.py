"""The streaming decoder of the 12 Hz codec: codes to samples, chunk by chunk."""

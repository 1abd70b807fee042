"""From the engine's frames to a chunk's bytes: fades, trimming, resampling, encoding. No I/O.

Raises AudioError for samples, rates and encodings that cannot be used, RuntimeError for calls out of order.
"""

from schemas.errors import MakimaError


class AudioError(MakimaError):
    """Samples, a sample rate or an encoding that the audio chain cannot use."""

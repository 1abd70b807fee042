"""The preview engine: espeak-ng speaks, so that the whole path is real without a model."""

"""The preview engine: a small synthesiser such as espeak-ng in the model's place."""

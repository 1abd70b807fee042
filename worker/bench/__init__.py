"""Measurements behind `makima-tts bench`: JSON out, peers side by side in one run, ratios beside figures."""

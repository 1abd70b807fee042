"""The measurements of `makima-tts bench`: JSON, peers side by side in one run, ratios beside figures."""

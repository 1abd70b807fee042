#![doc = "Speech by makima-tts: speak jobs to Redis, their audio back while it is made."]

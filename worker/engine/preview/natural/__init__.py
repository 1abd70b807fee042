"""Natural preview voices: hibari for English and Open JTalk for Japanese, each in processes of its own."""

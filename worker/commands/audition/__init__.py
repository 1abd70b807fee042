"""`voices audition`: voices, engines and modes side by side, as sound, pictures and one page."""

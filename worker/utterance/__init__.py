"""One job on its way to speech: admission, plan, delivery and its end."""

"""The settings: their schema, their sources, and the rules of Redis URLs. Imports neither redis-py nor torch."""

from worker.settings.env import ENV_FILE, SettingsError, env_name, password_in
from worker.settings.redis_url import AddressError, RedisUrl, without_password
from worker.settings.schema import Settings, unknown_keys

__all__ = [
    "ENV_FILE",
    "AddressError",
    "RedisUrl",
    "Settings",
    "SettingsError",
    "env_name",
    "password_in",
    "unknown_keys",
    "without_password",
]

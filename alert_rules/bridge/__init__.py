"""The SMS bridge: takes Alertmanager's webhooks and has each told once, by SMS or, where that fails, by mail."""

"""What mail says: templates that Alertmanager fills in."""

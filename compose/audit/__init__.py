"""Who signed in and who changed what, out of nginx's log."""

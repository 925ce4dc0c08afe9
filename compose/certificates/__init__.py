"""The certificate of the only door: from an authority of this host, or one's own, checked before it is used."""

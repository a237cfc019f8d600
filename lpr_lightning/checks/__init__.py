"""Checks of somebody's own classes against the rules that this package counts on."""

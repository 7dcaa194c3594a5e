"""Widgets that show what they are given. None of them reads the app; each can be mounted alone."""

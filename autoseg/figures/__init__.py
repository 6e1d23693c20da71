"""Numbers to figures; the only room that draws."""

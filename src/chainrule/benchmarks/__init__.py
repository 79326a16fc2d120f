"""How fast chainrule is, and how fast others are at the same work: what `chainrule bench` runs."""

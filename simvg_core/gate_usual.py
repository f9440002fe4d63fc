"""How a gate is usually taught and measured. Free of torch: the command line begins here."""

RECALL = 0.999
"""Share of what the object tokens find rightly that must pass."""
PICTURES, TEXTS, EPOCHS = 2500, 150, 10
"""Pictures that teach it, at most; texts that each is asked besides its own; how often the gate sees each of them."""

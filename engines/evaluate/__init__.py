"""How good a generator is: against rendered truth (table), against photographs (realism), and on clips made from portraits (photoreal)."""

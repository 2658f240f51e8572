"""Identity rows and keep rows: reading, checking, editing, and what a training makes of them. Loads no torch."""

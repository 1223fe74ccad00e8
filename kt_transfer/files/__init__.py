"""Files: written as a whole, read within bounds."""

"""What a person reads: tables, pictures, and the numbers in them."""

"""What people read: the page, its figures, and the final table in the terminal."""

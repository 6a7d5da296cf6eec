"""Images for people: colours and grids."""

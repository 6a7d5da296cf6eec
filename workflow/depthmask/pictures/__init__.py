"""Pictures for people: colours and grids."""

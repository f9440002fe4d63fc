"""The rendered line: one scene description gives the picture, the truth and the queries."""

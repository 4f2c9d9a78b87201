"""What a run shows: lines while it goes, tables and a picture when it is over."""

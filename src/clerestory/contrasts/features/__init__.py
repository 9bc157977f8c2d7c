"""What `group --by` clusters samples by, one file for each kind."""

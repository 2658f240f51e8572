"""How `data/reference` was made: which questions each set-up is asked, the sweeps over recipes, the reference run."""

"""Full-catalogue ranking: the tower beside every baseline, in the same run, on the same cases."""

"""Augmentation of demonstrations: other backgrounds and other things about, from masks; actions stay as they are."""

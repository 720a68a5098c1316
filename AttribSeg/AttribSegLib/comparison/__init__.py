"""Recipes compared on one cohort under one budget: the tables and figures of chapter 5."""

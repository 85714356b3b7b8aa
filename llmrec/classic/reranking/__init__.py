"""The last step of the funnel: a whole list is looked at, not one candidate after the other."""

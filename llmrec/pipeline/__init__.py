"""The funnel as one object: recall proposes, each stage ranks what is left and hands on fewer."""
